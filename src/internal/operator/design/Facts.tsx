/** The one line under a heading that says again, in words, what the page is evidence of. */
import type { ComponentChildren, VNode } from "preact"

export const css = `
.facts{color:var(--ink2);margin:0 0 var(--s4);max-width:100ch}.facts b{color:var(--ink);font-weight:600}
`

export const Facts = ({ children }: { readonly children: ComponentChildren }): VNode => (
  <p class="facts" role="status">
    {children}
  </p>
)
