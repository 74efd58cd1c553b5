/**
 * The `ts` blocks of README.md, of docs, and of the docstrings of src, each as a module of its own. What a block of a page leaves to
 * the reader's imagination is declared in a comment right before it, which the rendered page does not show:
 *
 *     <!-- setup
 *     declare const app: HttpApp.Default
 *     -->
 */
import { readFileSync } from "node:fs"
import { join, relative } from "node:path"
import ts from "typescript"

const root = join(import.meta.dirname, "..")

export interface Block {
  readonly file: string
  readonly path: string
  readonly text: string
  /** For each line of `text`, its line in `file`. */
  readonly lines: ReadonlyArray<number>
}

/** The blocks of a Markdown text. */
const blocksOf = (file: string, markdown: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  const lines = markdown.split(/\r?\n/)
  let setup: Array<number> = []
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? ""
    const isSetup = line.trim() === "<!-- setup"
    const fence = /^\s*(```+)(\S*)/.exec(line)
    if (!isSetup && fence === null) {
      setup = line.trim() === "" ? setup : []
      continue
    }
    const closes = (candidate: string) => candidate.trim() === (isSetup ? "-->" : fence?.[1])
    const inside: Array<number> = []
    for (at++; at < lines.length && !closes(lines[at] ?? ""); at++) {
      inside.push(at)
    }
    if (isSetup) {
      setup = inside
      continue
    }
    if (fence?.[2] === "ts" || fence?.[2] === "typescript") {
      const all = [...setup, ...inside]
      blocks.push({
        file,
        path: join(root, `${file}.${blocks.length + 1}.ts`),
        text: all.map((index) => lines[index]).join("\n"),
        lines: all.map((index) => index + 1)
      })
    }
    setup = []
  }
  return blocks
}

/** A source with nothing left of it but the text of its docstrings, line for line. */
const docstringsOf = (source: string): string => {
  let inside = false
  return source
    .split(/\r?\n/)
    .map((line) => {
      const opens = /^\s*\/\*\*(?!\/)/.test(line)
      inside ||= opens
      const text = inside && !opens ? line.replace(/^\s*\*? ?/, "") : ""
      const closes = line.trimEnd().endsWith("*/")
      inside &&= !closes
      return closes ? "" : text
    })
    .join("\n")
}

const under = (directory: string, extension: string): ReadonlyArray<string> =>
  ts.sys.readDirectory(join(root, directory), [extension]).map((path) => relative(root, path))
const read = (file: string): string => readFileSync(join(root, file), "utf8")

const pages = ["README.md", ...under("docs", ".md")]
const sources = under("src", ".ts")

/** Every example. */
export const examples: ReadonlyArray<Block> = [
  ...pages.flatMap((file) => blocksOf(file, read(file))),
  ...sources.flatMap((file) => blocksOf(file, docstringsOf(read(file))))
]

/** A host of the compiler for which the examples are files, too. */
export const withExamples = (host: ts.CompilerHost): ts.CompilerHost => {
  const virtual = new Map(examples.map((block) => [block.path, block]))
  return {
    ...host,
    fileExists: (path) => virtual.has(path) || host.fileExists(path),
    readFile: (path) => virtual.get(path)?.text ?? host.readFile(path),
    getSourceFile: (path, language, onError, create) => {
      const block = virtual.get(path)
      return block === undefined
        ? host.getSourceFile(path, language, onError, create)
        : ts.createSourceFile(path, block.text, language, true)
    }
  }
}

/** What the compiler says of an example, at its place in the page. What it declares and does not use is no error there. */
export const problemsOf = (program: ts.Program, block: Block): ReadonlyArray<string> => {
  const source = program.getSourceFile(block.path)
  if (source === undefined) {
    return [`${block.file}: could not be read`]
  }
  return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
    .filter(({ reportsUnnecessary }) => reportsUnnecessary === undefined)
    .map((diagnostic) => {
      const line = block.lines[source.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line] ?? 0
      return `${block.file}:${line} ${ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n  ")}`
    })
}
