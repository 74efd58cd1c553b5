/**
 * Reads the arguments of the program and compares them with the commands. It puts them into the one order that the parser of
 * `@effect/cli` reads without surprises: command, options, flags, `--`, arguments. On its own, that parser
 *
 * - takes options of a command only behind the name of the command,
 * - drops all but one of an option that is repeated as `--table=x`,
 * - takes an argument such as `1` for the value of a flag before it,
 * - skips empty values, and takes `-5` for an option,
 * - says what is wrong in several lines, without what was probably meant.
 */
import * as Either from "effect/Either"
import { nearest, withSuggestion } from "../../src/Suggestion.js"
import { below, groups } from "../commands.js"
import type { CommandFacts, OptionFacts } from "./declare.js"

export type Invocation =
  | { readonly _tag: "Version" }
  /** Help on everything, on a group, or on a command. */
  | { readonly _tag: "Help"; readonly path: ReadonlyArray<string> }
  | { readonly _tag: "Run"; readonly args: ReadonlyArray<string> }

/** Options of every command, that no command declares. */
const builtIn: ReadonlySet<string> = new Set(["help", "version"])

/** The arguments before their command is known. */
interface Scanned {
  readonly words: ReadonlyArray<string>
  readonly options: ReadonlyArray<{ readonly name: string; readonly text: string | undefined }>
  readonly help: boolean
  readonly version: boolean
  /** The first option that no command has. */
  readonly unknownOption: string | undefined
}

/** An option of one name has a value in all commands, or in none. */
const scan = (
  argv: ReadonlyArray<string>,
  optionsByName: ReadonlyMap<string, OptionFacts>
): Either.Either<Scanned, string> => {
  const words: Array<string> = []
  const options: Array<Scanned["options"][number]> = []
  const on = new Set<string>()
  let unknownOption: string | undefined
  const isOption = (text: string): boolean => {
    const name = text.slice(2).split("=", 1)[0] ?? ""
    return text === "--" || (text.startsWith("--") && (optionsByName.has(name) || builtIn.has(name)))
  }
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? ""
    if (argument === "--") {
      words.push(...argv.slice(at + 1))
      break
    }
    if (!argument.startsWith("-") || argument === "-" || /^-\.?\d/.test(argument)) {
      words.push(argument)
      continue
    }
    const equals = argument.indexOf("=")
    const option = argument === "-h" ? "--help" : equals === -1 ? argument : argument.slice(0, equals)
    const inlineValue = equals === -1 ? undefined : argument.slice(equals + 1)
    const name = option.startsWith("--") ? option.slice(2) : ""
    const facts = optionsByName.get(name)
    if (facts === undefined && !builtIn.has(name)) {
      unknownOption ??= option
    } else if (facts?.placeholder === undefined) {
      if (inlineValue !== undefined && inlineValue !== "true" && inlineValue !== "false") {
        return Either.left(`the option ${option} takes no value`)
      }
      if (inlineValue !== "false") {
        on.add(name)
      }
    } else {
      const following = argv[at + 1]
      const isBare =
        inlineValue === undefined && facts.whenBare !== undefined && (following === undefined || isOption(following))
      const text = isBare ? facts.whenBare : (inlineValue ?? argv[++at])
      if (text === undefined || text === "" || (inlineValue === undefined && isOption(text))) {
        return Either.left(`the option ${option} needs a value`)
      }
      options.push({ name, text })
    }
  }
  const flags = [...on].filter((name) => !builtIn.has(name)).map((name) => ({ name, text: undefined }))
  return Either.right({
    words,
    options: [...options, ...flags],
    help: on.has("help"),
    version: on.has("version"),
    unknownOption
  })
}

/** How many words the command name has that `words` begin with: one more than its group. */
const depthOf = (words: ReadonlyArray<string>): number => {
  let depth = 1
  while (groups[words.slice(0, depth).join(" ")] !== undefined && words.length >= depth) {
    depth++
  }
  return depth
}

const list = (names: ReadonlyArray<string>): string =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${names.at(-1) ?? ""}`

/** The command that was probably meant: of another spelling, or the same word in a group. */
const meantBy = (
  path: ReadonlyArray<string>,
  group: ReadonlyArray<string>,
  leaves: ReadonlyArray<CommandFacts>
): string | undefined => {
  const word = path.at(-1) ?? ""
  const inGroup = leaves.find((leaf) => leaf.path.length > path.length && leaf.path.at(-1) === word)
  const similar = nearest(word, below(group))
  return inGroup?.path.join(" ") ?? (similar === undefined ? undefined : [...group, similar].join(" "))
}

/** Checks the arguments of a command, except what only its handler can check. */
const check = (leaf: CommandFacts, options: Scanned["options"], words: ReadonlyArray<string>): string | undefined => {
  const names = leaf.options.map(({ name }) => name)
  const seenOptions = new Set<string>()
  for (const { name, text } of options) {
    const facts = leaf.options.find((option) => option.name === name)
    if (facts === undefined) {
      const similar = nearest(name, names)
      return withSuggestion(`the option --${name} does not belong to this command`, similar && `--${similar}`)
    }
    if (seenOptions.has(name) && !facts.repeated) {
      return `the option --${name} is given twice`
    }
    seenOptions.add(name)
    if (text !== undefined && facts.words.length > 0 && !facts.words.includes(text)) {
      return withSuggestion(`--${name} is one of ${facts.words.join(", ")}`, nearest(text, facts.words))
    }
  }
  const missingArgument = leaf.arguments.slice(words.length).find(({ optional }) => !optional)
  if (missingArgument !== undefined) {
    const usage = leaf.arguments.map(({ name, optional }) => (optional ? `[${name}]` : name))
    return `${missingArgument.name} is missing: threadline ${[...leaf.path, ...usage].join(" ")}`
  }
  const further = words[leaf.arguments.length]
  if (further !== undefined) {
    return `there is an argument too many: ${further}`
  }
  return leaf.arguments.flatMap((facts, index) => {
    const text = words[index]
    return text === undefined || facts.words.length === 0 || facts.words.includes(text)
      ? []
      : [withSuggestion(`${facts.name} is one of ${facts.words.join(", ")}`, nearest(text, facts.words))]
  })[0]
}

/** Reads the arguments behind the name of the program. A left is a sentence on what is wrong. */
export const read = (
  argv: ReadonlyArray<string>,
  leaves: ReadonlyArray<CommandFacts>
): Either.Either<Invocation, string> =>
  Either.gen(function* () {
    const optionsByName = new Map(leaves.flatMap((leaf) => leaf.options.map((option) => [option.name, option])))
    const scanned = yield* scan(argv, optionsByName)
    const { options, unknownOption, version } = scanned
    const words = scanned.words[0] === "help" ? scanned.words.slice(1) : scanned.words
    const help = scanned.help || words !== scanned.words
    if (version) {
      return { _tag: "Version" }
    }
    const isLeaf = (candidate: ReadonlyArray<string>): boolean =>
      leaves.some((leaf) => leaf.path.join(" ") === candidate.join(" "))
    const depth = depthOf(words)
    const path = words.slice(0, depth)
    const noOption = (option: string, names: Iterable<string>): string => {
      const similar = nearest(option.replace(/^-+/, ""), [...names, ...builtIn])
      const sentence = `there is no option ${option}`
      return similar === undefined && !option.startsWith("--")
        ? `${sentence}; write -- before an argument that begins with a dash`
        : withSuggestion(sentence, similar && `--${similar}`)
    }
    if (path.length === 0) {
      return unknownOption !== undefined
        ? yield* Either.left(noOption(unknownOption, optionsByName.keys()))
        : help || options.length === 0
          ? { _tag: "Help", path }
          : yield* Either.left(`name a command: ${list(below([]))}`)
    }
    const group = path.slice(0, depth - 1)
    // A group may be a command as well.
    if (path.length < depth && !isLeaf(path)) {
      return help
        ? { _tag: "Help", path }
        : yield* Either.left(`${path.join(" ")} needs a command; there is ${list(below(group))}`)
    }
    const leaf = leaves.find((candidate) => candidate.path.join(" ") === path.join(" "))
    const suggestion = leaf === undefined ? meantBy(path, group, leaves) : undefined
    if (unknownOption !== undefined && suggestion === undefined) {
      // If there is no command, the value may have been mistaken for one.
      return yield* Either.left(noOption(unknownOption, leaf?.options.map(({ name }) => name) ?? optionsByName.keys()))
    }
    if (leaf === undefined) {
      const sentence = `there is no command ${path.join(" ")}`
      const instead = `there ${group.length === 0 ? "are" : "is"} ${list(below(group))}`
      return yield* Either.left(
        suggestion === undefined ? `${sentence}; ${instead}` : withSuggestion(sentence, suggestion)
      )
    }
    if (help) {
      return { _tag: "Help", path }
    }
    const refusal = check(leaf, options, words.slice(depth))
    return refusal === undefined
      ? { _tag: "Run", args: [...path, ...options.flatMap(optionArguments), "--", ...words.slice(depth)] }
      : yield* Either.left(refusal)
  })

const optionArguments = ({ name, text }: Scanned["options"][number]): ReadonlyArray<string> =>
  text === undefined ? [`--${name}`] : [`--${name}`, text]
