/**
 * Puts arguments into the one order that the parser of @effect/cli reads without surprises: command, options, `--`,
 * arguments. It would otherwise take an argument such as `1` for the value of a flag before it, drop repeated options
 * written `--table=x`, and skip empty values.
 */
import * as Either from "effect/Either"
import { below, groups, isCommand } from "./commands.js"
import { flagNames, valueNames } from "./options.js"

export type Invocation =
  | { readonly _tag: "Version" }
  /** Help on everything, on a group, or on a command. */
  | { readonly _tag: "Help"; readonly path: ReadonlyArray<string> }
  | { readonly _tag: "Run"; readonly args: ReadonlyArray<string> }

const flags: ReadonlySet<string> = new Set(flagNames)
const values: ReadonlySet<string> = new Set(valueNames)

const list = (names: ReadonlyArray<string>): string =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${names.at(-1) ?? ""}`

/** Reads the arguments after the name of the program. A left is a sentence on what is wrong. */
export const read = (argv: ReadonlyArray<string>): Either.Either<Invocation, string> => {
  const words: Array<string> = []
  const on = new Set<string>()
  const options: Array<string> = []
  let help = false
  let version = false

  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? ""
    if (argument === "--") {
      words.push(...argv.slice(at + 1))
      break
    }
    if (argument === "-h") {
      help = true
      continue
    }
    if (!argument.startsWith("-") || argument === "-" || /^-\.?\d/.test(argument)) {
      words.push(argument)
      continue
    }
    const equals = argument.indexOf("=")
    const option = equals === -1 ? argument : argument.slice(0, equals)
    const given = equals === -1 ? undefined : argument.slice(equals + 1)
    const name = option.startsWith("--") ? option.slice(2) : ""
    if (flags.has(name)) {
      if (given !== undefined && given !== "true" && given !== "false") {
        return Either.left(`the option ${option} takes no value`)
      }
      if (given === "false") {
        continue
      }
      help ||= name === "help"
      version ||= name === "version"
      if (name !== "help" && name !== "version") {
        on.add(option)
      }
    } else if (values.has(name)) {
      const text = given ?? argv[++at]
      if (text === undefined || text === "" || (given === undefined && isOption(text))) {
        return Either.left(`the option ${option} needs a value`)
      }
      options.push(option, text)
    } else {
      return Either.left(`there is no option ${option}`)
    }
  }

  if (words[0] === "help" && !isCommand(["help"])) {
    words.shift()
    help = true
  }
  const depth = groups[words[0] ?? ""] === undefined ? 1 : 2
  const path = words.slice(0, depth)
  if (version) {
    return Either.right({ _tag: "Version" })
  }
  if (path.length === 0) {
    return help || on.size + options.length === 0
      ? Either.right({ _tag: "Help", path })
      : Either.left(`name a command: ${list(below([]))}`)
  }
  if (!isCommand(path)) {
    const known = path.length === 1 && depth === 2
    if (known && help) {
      return Either.right({ _tag: "Help", path })
    }
    const group = path.length === 2 || known ? path.slice(0, 1) : []
    const wrong = known ? `${path.join(" ")} needs a command` : `there is no command ${path.join(" ")}`
    return Either.left(`${wrong}; there ${group.length === 0 ? "are" : "is"} ${list(below(group))}`)
  }
  return help
    ? Either.right({ _tag: "Help", path })
    : Either.right({ _tag: "Run", args: [...path, ...options, ...on, "--", ...words.slice(depth)] })
}

const isOption = (text: string): boolean =>
  text === "--" ||
  (text.startsWith("--") && (flags.has(text.slice(2)) || values.has(text.slice(2).split("=")[0] ?? "")))
