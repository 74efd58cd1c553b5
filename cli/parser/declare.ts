/**
 * Options, arguments and commands of @effect/cli that also describe themselves as data. The package describes them only in the
 * sentences of its own help. Reading of arguments, our help and completions need data.
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import type * as Effect from "effect/Effect"
import type * as Types from "effect/Types"
import { type CommandName, commands } from "../commands.js"

export interface OptionFacts {
  readonly kind: "option"
  readonly name: string
  /** The name of its value, such as `TABLE`. Undefined for a flag, which has no value. */
  readonly placeholder: string | undefined
  readonly repeated: boolean
  readonly description: string
  /** The value of an option that is given without one. Undefined if it needs a value. */
  readonly whenBare?: string
  /** The only allowed values. Empty if any string is allowed. */
  readonly words: ReadonlyArray<string>
}

export interface ArgumentFacts {
  readonly kind: "argument"
  readonly name: string
  readonly optional: boolean
  readonly description: string
  readonly words: ReadonlyArray<string>
}

export interface CommandFacts {
  readonly path: ReadonlyArray<string>
  readonly summary: string
  readonly options: ReadonlyArray<OptionFacts>
  readonly arguments: ReadonlyArray<ArgumentFacts>
}

export interface With<out Facts> {
  readonly facts: Facts
}

type Words = readonly [string, ...Array<string>]

const option = <A>(options: Options.Options<A>, facts: Omit<OptionFacts, "kind">) =>
  Object.assign(options.pipe(Options.withDescription(facts.description)), {
    facts: { kind: "option", ...facts }
  } satisfies With<OptionFacts>)

const argumentOf = <A>(args: Args.Args<A>, facts: Omit<ArgumentFacts, "kind">) =>
  Object.assign(args.pipe(Args.withDescription(facts.description)), {
    facts: { kind: "argument", ...facts }
  } satisfies With<ArgumentFacts>)

/** An option without a value. */
export const flag = (name: string, description: string) =>
  option(Options.boolean(name), { name, placeholder: undefined, repeated: false, description, words: [] })

/** An option that may be given once. */
export const value = (name: string, placeholder: string, description: string) =>
  option(Options.optional(Options.text(name)), { name, placeholder, repeated: false, description, words: [] })

/** An option that may be given more than once. */
export const values = (name: string, placeholder: string, description: string) =>
  option(Options.repeated(Options.text(name)), { name, placeholder, repeated: true, description, words: [] })

/** Like `values`. If the option is given without a value, it has the value `whenBare`. */
export const valuesOr = (name: string, whenBare: string, placeholder: string, description: string) =>
  option(Options.repeated(Options.text(name)), { name, placeholder, repeated: true, whenBare, description, words: [] })

/** An option whose value is one of a few words. */
export const choice = <const W extends Words>(
  name: string,
  words: W,
  description: string,
  placeholder: string = words.join("|")
) =>
  option(Options.optional(Options.choice<W[number], W>(name, words)), {
    name,
    placeholder,
    repeated: false,
    description,
    words
  })

/** Like `choice`, for an option that may be given more than once. */
export const choices = <const W extends Words>(name: string, words: W, placeholder: string, description: string) =>
  option(Options.repeated(Options.choice<W[number], W>(name, words)), {
    name,
    placeholder,
    repeated: true,
    description,
    words
  })

export const argument = (name: string, description: string) =>
  argumentOf(Args.text({ name }), { name, optional: false, description, words: [] })

export const optionalArgument = (name: string, description: string) =>
  argumentOf(Args.optional(Args.text({ name })), { name, optional: true, description, words: [] })

/** An argument that is one of a few words. */
export const wordArgument = <const W extends Words>(name: string, words: W, description: string) =>
  argumentOf(
    Args.choice<W[number]>(
      words.map((word): [string, W[number]] => [word, word]),
      { name }
    ),
    { name, optional: false, description, words }
  )

interface Config {
  readonly [name: string]: (Options.Options<unknown> & With<OptionFacts>) | (Args.Args<unknown> & With<ArgumentFacts>)
}

/** A command under its name in the list of commands. */
export const leaf = <const C extends Config, R, E>(
  name: CommandName,
  config: C,
  handler: (parsed: Types.Simplify<Command.Command.ParseConfig<C>>) => Effect.Effect<void, E, R>
) => {
  const path = name.split(" ")
  const facts = Object.values<Config[string]>(config).map((entry) => entry.facts)
  return Object.assign(Command.make(path.at(-1) ?? name, config, handler), {
    facts: {
      path,
      summary: commands[name],
      options: facts.filter((entry) => entry.kind === "option"),
      arguments: facts.filter((entry) => entry.kind === "argument")
    }
  } satisfies With<CommandFacts>)
}

/** What an option or an argument gives to the handler of its command. */
export type Given<Declared extends { readonly [name: string]: Options.Options<unknown> }> = {
  readonly [Name in keyof Declared]: Declared[Name] extends Options.Options<infer A> ? A : never
}
