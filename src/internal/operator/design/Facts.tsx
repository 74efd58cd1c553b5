/** The line below the heading that says in words what the page shows. */
import type { ComponentChildren, VNode } from "preact"

export const css = `
.facts{color:var(--ink2);margin:0 0 var(--s4);max-width:100ch}.facts b{color:var(--ink);font-weight:600}
`

export const Facts = ({ children }: { readonly children: ComponentChildren }): VNode => (
  <p class="facts" role="status">
    {children}
  </p>
)
