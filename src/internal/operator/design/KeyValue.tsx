/** Names and what they are: the margin of a page about one thing. */
import type { ComponentChildren, VNode } from "preact"

export const css = `
.kv{margin:0;display:grid;gap:var(--s3)}.kv dt{font-size:12px;color:var(--ink3)}.kv dd{margin:0;overflow-wrap:anywhere}
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
