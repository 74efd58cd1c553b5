/** Help texts, in a layout of our own. The one of @effect/cli says "a user-defined piece of text" below every option. */
import { below, groups } from "./commands.js"
import { bold } from "./output.js"
import type { ArgumentFacts, CommandFacts, OptionFacts } from "./parser/declare.js"
import { common } from "./options.js"
import { wrap } from "./table.js"

const program = (path: ReadonlyArray<string>): string => ["threadline", ...path].join(" ")

interface Entry {
  readonly name: string
  readonly description: string
}

const indent = 2

/** A longer name is on a line of its own, above its description. */
const longestName = 40

const entries = (list: ReadonlyArray<Entry>, width: number): ReadonlyArray<string> => {
  const column = Math.max(0, ...list.map(({ name }) => name.length).filter((length) => length <= longestName))
  return list.flatMap(({ description, name }) => {
    const above = name.length > column ? wrap(name.replaceAll("|", " | "), width - indent) : []
    return [
      ...above.map((line) => `  ${line}`),
      ...wrap(description, width - column - 2 * indent).map(
        (line, index) => `  ${(index === 0 && above.length === 0 ? name : "").padEnd(column)}  ${line}`
      )
    ]
  })
}

const widest = 80

/** Help on everything, on a group of commands, or on one command. */
export const help = (
  path: ReadonlyArray<string>,
  leaves: ReadonlyArray<CommandFacts>,
  version: string,
  available: number
): string => {
  const width = Math.min(widest, available)
  const leaf = leaves.find((candidate) => candidate.path.join(" ") === path.join(" "))
  return leaf === undefined ? overview(path, leaves, version, width) : detail(leaf, leaves, width)
}

const overview = (
  path: ReadonlyArray<string>,
  leaves: ReadonlyArray<CommandFacts>,
  version: string,
  width: number
): string => {
  const summaryOf = (name: ReadonlyArray<string>): string =>
    leaves.find((candidate) => candidate.path.join(" ") === name.join(" "))?.summary ?? groups[name.join(" ")] ?? ""
  const shared = [
    "The database is --url, else THREADLINE_DATABASE_URL, else DATABASE_URL, else that of PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.",
    "Every command prints one JSON document with --json. Text for people is as wide as the terminal or COLUMNS says; with --wide, and if it goes to a pipe or a file, nothing is cut.",
    "Exit codes: 0 fine; 1 refused, not found or failed; 2 wrong use; 3 the database cannot be used."
  ]
  return [
    path.length === 0 ? `threadline ${version}: embedded audit infrastructure for PostgreSQL` : summaryOf(path),
    "",
    bold("Usage"),
    `  ${program(path)} COMMAND [OPTIONS]`,
    "",
    bold("Commands"),
    ...entries(
      below(path).map((name) => ({ name, description: summaryOf([...path, name]) })),
      width
    ),
    "",
    ...(path.length === 0 ? [...shared.flatMap((sentence) => wrap(sentence, width)), ""] : []),
    `"${program(path)} COMMAND --help" shows the options of a command.`
  ].join("\n")
}

const ofArgument = ({ description, name, optional }: ArgumentFacts): Entry => ({
  name: optional ? `[${name}]` : `<${name}>`,
  description
})

const ofOption = ({ description, name, placeholder }: OptionFacts): Entry => ({
  name: placeholder === undefined ? `--${name}` : `--${name} ${placeholder}`,
  description
})

const isCommon = ({ name }: OptionFacts): boolean => name in common

const detail = (leaf: CommandFacts, leaves: ReadonlyArray<CommandFacts>, width: number): string => {
  const section = (title: string, list: ReadonlyArray<Entry>): ReadonlyArray<string> =>
    list.length === 0 ? [] : ["", bold(title), ...entries(list, width)]
  const args = leaf.arguments.map(ofArgument)
  const commands = below(leaf.path).map((name) => ({
    name,
    description: leaves.find(({ path }) => path.join(" ") === [...leaf.path, name].join(" "))?.summary ?? ""
  }))
  return [
    leaf.summary,
    "",
    bold("Usage"),
    `  ${[program(leaf.path), ...args.map(({ name }) => name), "[OPTIONS]"].join(" ")}`,
    ...(commands.length === 0 ? [] : [`  ${program(leaf.path)} COMMAND [OPTIONS]`]),
    ...section("Commands", commands),
    ...section("Arguments", args),
    ...section("Options", leaf.options.filter((option) => !isCommon(option)).map(ofOption)),
    ...section("Options of every command", leaf.options.filter(isCommon).map(ofOption))
  ].join("\n")
}
