/** Stands in place of an empty list. Says why it is empty, and what to do. */
import type { ComponentChildren, VNode } from "preact"

export const css = `
.empty{padding:var(--s6) var(--s4);text-align:center;border:1px dashed var(--line);border-radius:var(--r);color:var(--ink2)}.empty h2{font-size:16px;color:var(--ink)}.empty p:last-child{margin:0}
`

export const Empty = ({ children, title }: { readonly title: string; readonly children: ComponentChildren }): VNode => (
  <div class="empty">
    <h2>{title}</h2>
    {children}
  </div>
)
