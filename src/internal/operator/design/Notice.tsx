/** A notice above the content of a page. */
import type { ComponentChildren, VNode } from "preact"

export const css = `
.notice{display:flex;flex-wrap:wrap;gap:var(--s1) var(--s3);align-items:baseline;padding:var(--s3) var(--s4);border:1px solid var(--line);border-left:3px solid var(--accent);border-radius:var(--r);background:var(--raise);margin-bottom:var(--s4);overflow-wrap:anywhere}
.notice.warn{border-left-color:var(--warn)}.notice.bad{border-left-color:var(--del)}.notice p{margin:0}
`

export const Notice = ({
  children,
  tone = "plain"
}: {
  readonly children: ComponentChildren
  readonly tone?: "plain" | "warn" | "bad"
}): VNode => <div class={tone === "plain" ? "notice" : `notice ${tone}`}>{children}</div>
