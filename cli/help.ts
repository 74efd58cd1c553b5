/** Help texts, in our own layout: that of @effect/cli says "a user-defined piece of text" below every option. */
import * as HelpDoc from "@effect/cli/HelpDoc"
import type * as Span from "@effect/cli/HelpDoc/Span"
import { below, commands, groups, isCommand, type CommandName } from "./commands.js"
import { plain } from "./exit.js"
import { bold } from "./output.js"
import { wrap } from "./table.js"

const isName = (name: string): name is CommandName => isCommand(name.split(" "))

const summaryOf = (path: ReadonlyArray<string>): string => {
  const name = path.join(" ")
  return isName(name) ? commands[name] : (groups[name] ?? "")
}

const program = (path: ReadonlyArray<string>): string => ["threadline", ...path].join(" ")

interface Entry {
  readonly name: string
  readonly description: string
}

const entries = (list: ReadonlyArray<Entry>): ReadonlyArray<string> => {
  const width = Math.max(...list.map(({ name }) => name.length))
  return list.flatMap(({ description, name }) =>
    wrap(description, 76 - width).map((line, index) => `  ${(index === 0 ? name : "").padEnd(width)}  ${line}`)
  )
}

/** Help on everything, or on a group of commands. */
export const overview = (path: ReadonlyArray<string>, version: string): string =>
  [
    path.length === 0 ? `threadline ${version}: embedded audit infrastructure for PostgreSQL` : summaryOf(path),
    "",
    bold("Usage"),
    `  ${program(path)} COMMAND [OPTIONS]`,
    "",
    bold("Commands"),
    ...entries(below(path).map((name) => ({ name, description: summaryOf([...path, name]) }))),
    "",
    ...(path.length === 0
      ? [
          "The database is --url, else THREADLINE_DATABASE_URL, else DATABASE_URL.",
          "Every command prints one JSON document with --json.",
          "Exit codes: 0 fine; 1 refused, not found or failed; 2 wrong use; 3 the database",
          "cannot be used.",
          ""
        ]
      : []),
    `"${program(path)} COMMAND --help" shows the options of a command.`
  ].join("\n")

const text = (span: Span.Span): string => plain(HelpDoc.toAnsiText(HelpDoc.p(span)))

/** What @effect/cli adds to every option. */
const filler = /^(A user-defined piece of text|A true or false value|This (setting|option|argument) )/

const descriptionOf = (doc: HelpDoc.HelpDoc): ReadonlyArray<string> => {
  switch (doc._tag) {
    case "Paragraph": {
      const paragraph = text(doc.value)
      return filler.test(paragraph) ? [] : [paragraph]
    }
    case "Sequence":
      return [...descriptionOf(doc.left), ...descriptionOf(doc.right)]
    default:
      return []
  }
}

const isOptional = (doc: HelpDoc.HelpDoc): boolean => /This setting is optional/.test(HelpDoc.toAnsiText(doc))

const isArgument = (name: string): boolean => !name.startsWith("--")

/** Names and descriptions of options and arguments, wherever they stand. */
const definitions = (doc: HelpDoc.HelpDoc): ReadonlyArray<Entry> => {
  switch (doc._tag) {
    case "DescriptionList":
      return doc.definitions.map(([span, description]) => {
        const name = text(span)
        return {
          name: isArgument(name) && isOptional(description) ? name.replace(/^<(.*)>$/, "[$1]") : name,
          description: descriptionOf(description).join(" ")
        }
      })
    case "Sequence":
      return [...definitions(doc.left), ...definitions(doc.right)]
    default:
      return []
  }
}

const isCommon = ({ name }: Entry): boolean => /^--(url|config|schema|json)\b/.test(name)

/** Help on one command. */
export const detail = (path: ReadonlyArray<string>, doc: HelpDoc.HelpDoc): string => {
  const all = definitions(doc)
  const args = all.filter(({ name }) => isArgument(name))
  const options = all.filter((entry) => !isArgument(entry.name) && !isCommon(entry))
  const section = (title: string, list: ReadonlyArray<Entry>): ReadonlyArray<string> =>
    list.length === 0 ? [] : ["", bold(title), ...entries(list)]
  return [
    summaryOf(path),
    "",
    bold("Usage"),
    `  ${[program(path), ...args.map(({ name }) => name), "[OPTIONS]"].join(" ")}`,
    ...section("Arguments", args),
    ...section("Options", options),
    ...section("Options of every command", all.filter(isCommon))
  ].join("\n")
}
