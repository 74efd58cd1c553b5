/** A button that copies a string. Without a script it stays hidden. */
import type { VNode } from "preact"

export const css = `
.copy{border:0;height:24px;background:none;padding:0 5px;min-height:24px;min-width:24px;color:var(--ink3);font-size:12px;border-radius:4px}.copy:hover{color:var(--accent);background:var(--line2)}
`

export const Copy = ({ name, text }: { readonly text: string; readonly name: string }): VNode => (
  <button type="button" class="copy" hidden data-copy={text} aria-label={`Copy ${name}`}>
    copy
  </button>
)
