/** Shows a foreign string safely. Every captured value and every name must go through it. */
import type { VNode } from "preact"
import { cut, isRightToLeft, piecesOf } from "../visible.js"

export const Text = ({ limit = Infinity, text }: { readonly text: string; readonly limit?: number }): VNode => {
  const shown = cut(text, limit)
  const pieces = piecesOf(shown).map(({ mark, text }) => (mark ? <span class="cp">{text}</span> : text))
  const rest = shown.length < text.length ? "…" : null
  return isRightToLeft(shown) ? (
    <bdi>
      {pieces}
      {rest}
    </bdi>
  ) : (
    <>
      {pieces}
      {rest}
    </>
  )
}
