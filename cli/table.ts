/** Tables of aligned columns, narrow enough for the terminal. */
import { bold, visible } from "./output.js"

// Wide in nearly every terminal: CJK, Hangul, full-width forms, emoji.
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
const combining = /\p{Mark}/u

const characterWidth = (character: string): number => (wide.test(character) ? 2 : combining.test(character) ? 0 : 1)

/** How many columns of a terminal a text takes. */
export const textWidth = (text: string): number => {
  let width = 0
  for (const character of text) {
    width += characterWidth(character)
  }
  return width
}

/** The beginning of a text, as far as it fits, with an ellipsis if something is missing. */
export const clip = (text: string, width: number): string => {
  if (textWidth(text) <= width) {
    return text
  }
  let clipped = ""
  let usedWidth = 0
  for (const character of text) {
    usedWidth += characterWidth(character)
    if (usedWidth > width - 1) {
      break
    }
    clipped += character
  }
  return `${clipped}…`
}

/** Two texts that differ, cut so that the first difference is visible. If it lies far inside, both begin shortly before it. */
export const clipPair = (before: string, after: string, width: number): readonly [before: string, after: string] => {
  const old = [...before]
  const changed = [...after]
  let firstDifference = 0
  while (firstDifference < old.length && old[firstDifference] === changed[firstDifference]) {
    firstDifference++
  }
  let start = firstDifference
  let context = 0
  while (start > 0 && context < width / 3) {
    context += characterWidth(old[--start] ?? "")
  }
  const isDifferenceSeen = textWidth(old.slice(0, firstDifference).join("")) < width / 2
  const fits = textWidth(before) <= width && textWidth(after) <= width
  const cut = (characters: ReadonlyArray<string>): string =>
    clip(fits || isDifferenceSeen ? characters.join("") : `…${characters.slice(start).join("")}`, width)
  return [cut(old), cut(changed)]
}

const pad = (text: string, width: number): string => text + " ".repeat(Math.max(0, width - textWidth(text)))

export interface Column {
  readonly header: string
  /** The column keeps its whole text. Without this, it becomes narrower if the table is too wide. */
  readonly rigid?: boolean
  /** For the last column: its text continues below and is not cut. */
  readonly whole?: boolean
}

const gap = 2
const least = 8

/** Lays out rows, and makes values safe for the terminal. */
export const layout = (
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  available: number
): string => {
  const cells = rows.map((row) => columns.map((_, index) => visible(row[index] ?? "")))
  const widths = columns.map((column, index) =>
    Math.max(textWidth(column.header), ...cells.map((row) => textWidth(row[index] ?? "")))
  )
  const total = () => widths.reduce((sum, width) => sum + width, gap * (columns.length - 1))
  while (total() > available) {
    // Takes one column of the terminal at a time from the widest column that may become narrower.
    let widest = -1
    columns.forEach((column, index) => {
      const width = widths[index] ?? 0
      const narrowest = column.whole === true ? Math.max(least, textWidth(column.header)) : least
      if (column.rigid !== true && width > narrowest && width > (widths[widest] ?? 0)) {
        widest = index
      }
    })
    if (widest === -1) {
      break
    }
    widths[widest] = (widths[widest] ?? 0) - 1
  }
  const line = (row: ReadonlyArray<string>, style: (text: string) => string = (text) => text) =>
    row
      .map((cell, index) =>
        style(pad(clip(cell, widths[index] ?? 0), index === row.length - 1 ? 0 : (widths[index] ?? 0)))
      )
      .join(" ".repeat(gap))
      .trimEnd()
  const lines = (row: ReadonlyArray<string>): ReadonlyArray<string> =>
    columns.at(-1)?.whole === true
      ? broken(row.at(-1) ?? "", widths.at(-1) ?? 0).map((text, index) =>
          line([...(index === 0 ? row.slice(0, -1) : row.slice(1).map(() => "")), text])
        )
      : [line(row)]
  return [
    line(
      columns.map(({ header }) => header),
      bold
    ),
    ...cells.flatMap(lines)
  ].join("\n")
}

/** Lines of at most this width. A text is broken at spaces, and inside words that are longer than a line. */
const broken = (text: string, width: number): ReadonlyArray<string> =>
  wrap(text, width).flatMap((line) => {
    const parts: Array<string> = [""]
    for (const character of line) {
      const last = parts.at(-1) ?? ""
      if (last !== "" && textWidth(last) + characterWidth(character) > width) {
        parts.push(character)
      } else {
        parts[parts.length - 1] = last + character
      }
    }
    return parts
  })

/** Breaks a text into lines at its spaces. */
export const wrap = (text: string, width: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (const word of text.split(" ")) {
    const last = lines.at(-1)
    if (last !== undefined && textWidth(last) + 1 + textWidth(word) <= width) {
      lines[lines.length - 1] = `${last} ${word}`
    } else {
      lines.push(word)
    }
  }
  return lines
}

/** A sentence of any length, made safe for the terminal; its further lines are indented. */
export const paragraph = (text: string, width: number): ReadonlyArray<string> =>
  wrap(visible(text), width - 2).map((line, index) => (index === 0 ? line : `  ${line}`))
