/** Badges for operations and for anything unusual. The text says the same as the colour. */
import type { ComponentChildren, VNode } from "preact"
import type * as Query from "../../../Query.js"

export const css = `
.op{display:inline-block;min-width:62px;padding-right:4px;font-size:var(--small);font-weight:600;color:var(--accent)}
.op.insert{color:var(--add)}.op.delete,.op.truncate{color:var(--del)}.op.baseline,.op.schema{color:var(--ink2)}
.tag{display:inline-block;font-size:12px;line-height:1.5;padding:0 6px;border-radius:4px;background:var(--line2);color:var(--ink2);white-space:nowrap}
.tag.warn{background:var(--warnw);color:var(--warn)}.tag.bad{background:var(--delw);color:var(--del)}.tag.good{background:var(--addw);color:var(--add)}
`

export const OperationBadge = ({ op }: { readonly op: Query.Operation }): VNode => <span class={`op ${op}`}>{op}</span>

export type Tone = "plain" | "warn" | "bad" | "good"

export const Tag = ({
  children,
  title,
  tone = "plain"
}: {
  readonly children: ComponentChildren
  readonly tone?: Tone
  readonly title?: string
}): VNode => (
  <span class={tone === "plain" ? "tag" : `tag ${tone}`} title={title}>
    {children}
  </span>
)
