/** Names with their values, for the margin of a page about one thing. */
import type { ComponentChildren, VNode } from "preact"

export const css = `
.kv{margin:0;display:grid;gap:var(--s3)}.kv dt{font-size:12px;color:var(--ink3)}.kv dd{margin:0;overflow-wrap:anywhere}
@media(max-width:860px){.two .kv{gap:2px}.two>:first-child>.kv>div{display:grid;grid-template-columns:108px minmax(0,1fr);align-items:baseline}}
`

export interface Entry {
  readonly name: string
  readonly value: ComponentChildren
}

export const KeyValue = ({ entries }: { readonly entries: ReadonlyArray<Entry | undefined> }): VNode => (
  <dl class="kv">
    {entries.map((entry) =>
      entry === undefined ? null : (
        <div key={entry.name}>
          <dt>{entry.name}</dt>
          <dd>{entry.value}</dd>
        </div>
      )
    )}
  </dl>
)
