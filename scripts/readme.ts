/** Reads the README as a reader does: its sections, and the blocks of code in them. */
import { readFileSync } from "node:fs"
import { join } from "node:path"

export const readme = readFileSync(join(import.meta.dirname, "..", "README.md"), "utf8")

/** The section under a title, with everything below it. */
export const sectionOf = (title: string): string =>
  readme.split(/^## /m).find((text) => text.startsWith(`${title}\n`)) ?? ""

export interface Block {
  /** The line that stands before it. */
  readonly before: string
  readonly language: string
  readonly text: string
}

/** The fenced blocks of a Markdown text, in order. */
export const blocksOf = (markdown: string): ReadonlyArray<Block> =>
  [...markdown.matchAll(/^([^\n]*)\n\n```(\w+)\n([\s\S]*?)^```$/gm)].map(
    ([, before = "", language = "", text = ""]) => ({ before, language, text })
  )

/** The name of the file that the line before a block asks to save it as. */
export const fileOf = ({ before }: Block): string | undefined => /`([\w.]+)`/.exec(before)?.[1]
