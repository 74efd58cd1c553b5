/** Links to the pages before and after this one. */
import type { ComponentChildren, VNode } from "preact"

export const css = `
.pager{display:flex;gap:var(--s4);justify-content:space-between;align-items:baseline;margin:var(--s3) 0;color:var(--ink2)}.pager>:first-child,.pager>:last-child{min-width:80px}.pager>:last-child{text-align:right}.pager a{display:inline-block;padding:3px 0}
`

export const Pager = ({
  children,
  newer,
  newerName = "← Newer",
  older,
  olderName = "Older →"
}: {
  readonly newer: string | undefined
  readonly older: string | undefined
  readonly newerName?: string
  readonly olderName?: string
  readonly children: ComponentChildren
}): VNode => (
  <nav class="pager" aria-label="Pages">
    <span>
      {newer === undefined ? null : (
        <a href={newer} rel="prev">
          {newerName}
        </a>
      )}
    </span>
    <span>{children}</span>
    <span>
      {older === undefined ? null : (
        <a href={older} rel="next">
          {olderName}
        </a>
      )}
    </span>
  </nav>
)
