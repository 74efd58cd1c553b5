/**
 * Generated code as lines, so that a piece of code can stand inside another one at its depth.
 */

/**
 * Lines of code. A line may hold a line break of its own, inside a quoted name or literal. Nothing indents what follows it, for that
 * would change the name.
 */
export type Code = ReadonlyArray<string>

export const nothing: Code = []

/** A list, each item in a line of its own. */
export const listed = (items: ReadonlyArray<string>): Code =>
  items.map((item, place) => (place < items.length - 1 ? `${item},` : item))

/** The widest indentation that all lines have. The first line and the last one hold only what stands beside the backquotes. */
const sharedIndent = (strings: ReadonlyArray<string>): number =>
  Math.min(
    ...[...strings.join("x").matchAll(/\n( *)(?=[^ \n])/g)].map(([, indent = ""]) => indent.length),
    Number.MAX_SAFE_INTEGER
  )

/** The lines of each text between two values, without the indentation that all lines share. Each use of a template has the same texts. */
const templates = new WeakMap<TemplateStringsArray, ReadonlyArray<ReadonlyArray<string>>>()

const textsOf = (strings: TemplateStringsArray): ReadonlyArray<ReadonlyArray<string>> => {
  const known = templates.get(strings)
  if (known !== undefined) {
    return known
  }
  const margin = sharedIndent(strings.raw)
  const texts = strings.map((text) => text.split("\n").map((line, place) => (place > 0 ? line.slice(margin) : line)))
  templates.set(strings, texts)
  return texts
}

/**
 * A template of code, without the indentation that all its lines share. A value that is a string stands as it is. Lines among the values
 * are indented like the line they stand in. A line that has nothing but `nothing` is left out.
 */
export const code = (strings: TemplateStringsArray, ...values: ReadonlyArray<string | Code>): Code => {
  const lines: Array<string> = []
  let line = ""
  let empty = false
  const end = () => {
    if (!empty || line.trim() !== "") lines.push(line)
    line = ""
    empty = false
  }
  textsOf(strings).forEach((text, index) => {
    text.forEach((part, place) => {
      if (place > 0) end()
      line += part
    })
    const value = values[index]
    if (typeof value === "string") {
      line += value
    } else if (value !== undefined) {
      const indent = /^ */.exec(line)?.[0] ?? ""
      empty = empty || value.length === 0
      value.forEach((inner, place) => {
        if (place > 0) {
          end()
          line = inner === "" ? "" : indent
        }
        line += inner
      })
    }
  })
  end()
  // What stands beside the backquotes.
  return lines.slice(lines[0] === "" ? 1 : 0, lines.at(-1)?.trim() === "" ? -1 : undefined)
}
