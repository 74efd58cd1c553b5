/**
 * Compiles the `ts` blocks of README.md, of docs, and of the docstrings of src, each as a module of its own against the sources.
 * What a block of a page leaves to the reader's imagination is declared in a comment right before it, which the rendered page does
 * not show:
 *
 *     <!-- setup
 *     declare const app: HttpApp.Default
 *     -->
 */
import { readFileSync } from "node:fs"
import { join, relative } from "node:path"
import ts from "typescript"

const root = join(import.meta.dirname, "..")

interface Block {
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

const readConfig = (): ts.CompilerOptions => {
  const file = join(root, "tsconfig.json")
  const parsed = ts.parseJsonConfigFileContent(
    ts.readConfigFile(file, (path) => ts.sys.readFile(path)).config,
    ts.sys,
    root
  )
  return { ...parsed.options, noUnusedLocals: false, noUnusedParameters: false }
}

const compile = (blocks: ReadonlyArray<Block>): ReadonlyArray<string> => {
  const options = readConfig()
  const virtual = new Map(blocks.map((block) => [block.path, block]))
  const host = ts.createCompilerHost(options, true)
  const beneath = { ...host }
  host.fileExists = (path) => virtual.has(path) || beneath.fileExists(path)
  host.readFile = (path) => virtual.get(path)?.text ?? beneath.readFile(path)
  host.getSourceFile = (path, language, onError, create) => {
    const block = virtual.get(path)
    return block === undefined
      ? beneath.getSourceFile(path, language, onError, create)
      : ts.createSourceFile(path, block.text, language, true)
  }
  const program = ts.createProgram([...virtual.keys()], options, host)
  return blocks.flatMap((block) => {
    const source = program.getSourceFile(block.path)
    if (source === undefined) {
      return [`${block.file}: could not be read`]
    }
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((diagnostic) => {
      const line = block.lines[source.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line] ?? 0
      return `${block.file}:${line} ${ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n  ")}`
    })
  })
}

const under = (directory: string, extension: string): ReadonlyArray<string> =>
  ts.sys.readDirectory(join(root, directory), [extension]).map((path) => relative(root, path))
const read = (file: string): string => readFileSync(join(root, file), "utf8")

const pages = ["README.md", ...under("docs", ".md")]
const sources = under("src", ".ts")
const files = [...pages, ...sources]
const blocks = [
  ...pages.flatMap((file) => blocksOf(file, read(file))),
  ...sources.flatMap((file) => blocksOf(file, docstringsOf(read(file))))
]
const errors = compile(blocks)
for (const error of errors) {
  console.error(error)
}
console.log(`${blocks.length} examples in ${files.length} files, ${errors.length} errors`)
process.exitCode = errors.length === 0 && blocks.length > 0 ? 0 : 1
