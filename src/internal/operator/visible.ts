/**
 * Makes foreign strings safe to show. Characters that are invisible or that change the direction of text are shown as
 * their code points.
 */

/** Control characters except tab and line feed, directional marks, and characters without width. */
const unseen =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu

/** A zero-width joiner after one of these is part of an emoji. */
const joined = /[\p{Extended_Pictographic}\ufe0f]$/u

/** Text with one of these characters must be isolated, or it reorders the text around it. */
const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u

export const isRightToLeft = (text: string): boolean => rightToLeft.test(text)

export interface Piece {
  readonly text: string
  /** True if the text is the code point of an invisible character. */
  readonly mark: boolean
}

const codePoint = (character: string): string =>
  `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`

/** Splits a string into visible text and the code points of invisible characters. */
export const piecesOf = (text: string): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  let from = 0
  for (const { 0: character, index } of text.matchAll(unseen)) {
    if (character === "\u200d" && joined.test(text.slice(Math.max(0, index - 2), index))) {
      continue
    }
    if (index > from) {
      pieces.push({ text: text.slice(from, index), mark: false })
    }
    pieces.push({ text: codePoint(character), mark: true })
    from = index + character.length
  }
  if (from < text.length) {
    pieces.push({ text: text.slice(from), mark: false })
  }
  return pieces
}

/** The same as one string, for titles and attributes. */
export const visible = (text: string): string =>
  piecesOf(text)
    .map((piece) => (piece.mark ? `⟨${piece.text}⟩` : piece.text))
    .join("")

/** The first `limit` code units of a string. It does not cut a character in two. */
export const cut = (text: string, limit: number): string => {
  if (text.length <= limit) {
    return text
  }
  const last = text.charCodeAt(limit - 1)
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? limit - 1 : limit)
}
