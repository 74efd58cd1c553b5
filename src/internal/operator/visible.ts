/**
 * Strings of others, made harmless to look at. Characters that cannot be seen, or that turn the order of what follows, are shown by
 * their code points.
 */

/** Control characters but tab and line feed, directional marks, and what has no width. */
const unseen =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu

/** A joiner inside of a picture is part of the picture. */
const joined = /[\p{Extended_Pictographic}\ufe0f]$/u

/** What is written from right to left needs a place of its own, or it reorders its surroundings. */
const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u

export const isRightToLeft = (text: string): boolean => rightToLeft.test(text)

export interface Piece {
  readonly text: string
  /** True for the code point of a character that cannot be seen. */
  readonly mark: boolean
}

const codePoint = (character: string): string =>
  `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`

/** The pieces of a string: as it is, and what stands for characters that cannot be seen. */
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

/** The beginning of a string of at most `limit` characters, which cuts no character in two. */
export const cut = (text: string, limit: number): string => {
  if (text.length <= limit) {
    return text
  }
  const last = text.charCodeAt(limit - 1)
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? limit - 1 : limit)
}
