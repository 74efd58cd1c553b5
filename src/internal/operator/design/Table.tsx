/** A table with a caption. On a narrow screen each row becomes a card, so that nothing scrolls sideways. */
import type { ComponentChildren, VNode } from "preact"
import { Text } from "./Text.js"

export const css = `
.scroll{border:1px solid var(--line);border-radius:var(--r);background:var(--raise);overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}caption{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
th{text-align:left;font-size:12px;font-weight:500;color:var(--ink3);padding:var(--s2) var(--s3);border-bottom:1px solid var(--line);white-space:nowrap}
tbody th{font-size:inherit;color:inherit;border-bottom-color:var(--line2);vertical-align:top;font-weight:600}
tbody th .sub{white-space:normal;overflow-wrap:anywhere;font-weight:400}.scroll+section,.empty+section,:not(.cols)>section+section:not(.panel){margin-top:var(--s5)}
td{padding:6px var(--s3);line-height:24px;border-bottom:1px solid var(--line2);vertical-align:top}tbody tr:last-child>td,tbody tr:last-child>th{border-bottom:0}
tbody+tbody{border-top:1px solid var(--line)}tbody tr:hover{background:var(--sink)}tr:focus-within{background:var(--sink)}
.scroll+.sub,.list+.sub,.empty+.sub{margin-top:var(--s2)}td.num{text-align:right}td.fit,th.fit{width:1%;white-space:nowrap}
@media(max-width:760px){.scroll thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}.scroll table,.scroll tbody,.scroll tr{display:block}.scroll tr{padding:var(--s2) var(--s3);border-bottom:1px solid var(--line2)}.scroll td,.scroll tbody th{display:block;padding:1px 0;border:0;width:auto}.scroll tbody th{white-space:normal;overflow-wrap:anywhere}.scroll td:empty{display:none}.scroll td[data-name]::before{content:attr(data-name) " ";color:var(--ink3);font-size:12px}.scroll td.num{text-align:left}.scroll td.fit,#results td:nth-child(-n+3){display:inline-block;max-width:100%;vertical-align:top;margin-right:var(--s3)}#results .op{min-width:0}}
`

export const Table = ({
  caption,
  children,
  columns,
  id
}: {
  readonly caption: string
  readonly columns: ReadonlyArray<string>
  readonly children: ComponentChildren
  readonly id?: string
}): VNode => (
  <div class="scroll" id={id}>
    <table>
      <caption>
        <Text text={caption} limit={300} />
      </caption>
      <thead>
        <tr>
          {columns.map((column) => (
            <th key={column} scope="col">
              {column}
            </th>
          ))}
        </tr>
      </thead>
      {children}
    </table>
  </div>
)
