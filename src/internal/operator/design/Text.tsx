/** A string of somebody else's. Everything captured, and every name, goes through here. */
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
