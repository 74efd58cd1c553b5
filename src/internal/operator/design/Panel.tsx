/** A part of a page with its own heading. */
import type { ComponentChildren, VNode } from "preact"

export const css = `
.panel{border:1px solid var(--line);border-radius:var(--r);background:var(--raise);margin-bottom:var(--s4)}
.panel>header{padding:var(--s2) var(--s3);border-bottom:1px solid var(--line2);display:flex;flex-wrap:wrap;gap:2px var(--s3);align-items:baseline;overflow-wrap:anywhere}.panel>header h2,.panel>header h3{margin:0;font-size:inherit;font-weight:600;color:var(--ink)}
.panel>div{padding:var(--s3)}.panel>footer{padding:0 var(--s3) var(--s2);color:var(--ink3);font-size:var(--small)}
.panel>div>:last-child{margin-bottom:0}.panel h3{margin:var(--s3) 0 0;font-weight:600}.panel section:first-child>h3{margin-top:0}
.list{border-top:1px solid var(--line2)}.list li{display:flex;flex-wrap:wrap;gap:2px var(--s3);padding:6px 0;border-bottom:1px solid var(--line2);align-items:baseline;overflow-wrap:anywhere}.panel .list{border-top:0}.panel .list li:last-child{border-bottom:0}.list.several{columns:3 260px;column-gap:var(--s5)}.list.several li{break-inside:avoid}.list.row li{flex-wrap:nowrap}.list.row li>a{flex:0 1 auto;min-width:0}.list.row li>.end,.list.row li>.sub{flex:none}.list .what{flex:1 1 200px;min-width:0}.list li>.end{color:var(--ink3);font-size:var(--small)}
`

export const Panel = ({
  aside,
  children,
  title
}: {
  readonly title: ComponentChildren
  readonly aside?: ComponentChildren
  readonly children: ComponentChildren
}): VNode => (
  <section class="panel">
    <header>
      <h2>{title}</h2>
      {aside === undefined ? null : <span class="sub end">{aside}</span>}
    </header>
    <div>{children}</div>
  </section>
)
