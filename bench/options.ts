/**
 * The options of a benchmark. `--help` prints them. One that it does not have, or a value that does not fit, ends it before it has begun:
 * a misspelt one would otherwise show after minutes, or never.
 */
import { parseArgs, type ParseArgsConfig } from "node:util"

export interface Option<A> {
  readonly about: string
  /** What stands for its value in the help; undefined for one that is there or not. */
  readonly placeholder: string | undefined
  readonly read: (given: unknown) => A
}

export const flag = (about: string): Option<boolean> => ({
  about,
  placeholder: undefined,
  read: (given) => given === true
})

export const count = (about: string, otherwise: number, least = 1): Option<number> => ({
  about: `${about}; ${otherwise} by default`,
  placeholder: "N",
  read: (given) => {
    const value = given === undefined ? otherwise : Number(given)
    if (!Number.isSafeInteger(value) || value < least) throw new RangeError(`must be a number of ${least} or more`)
    return value
  }
})

export const text = (about: string, placeholder: string): Option<string | undefined> => ({
  about,
  placeholder,
  read: (given) => (typeof given === "string" ? given : undefined)
})

/** A regular expression; one that fits everything by default. */
export const pattern = (about: string): Option<RegExp> => ({
  about,
  placeholder: "PATTERN",
  read: (given) => new RegExp(typeof given === "string" ? given : "")
})

type Values<Named> = { readonly [Name in keyof Named]: Named[Name] extends Option<infer A> ? A : never }

const end = (code: number, message: string): never => {
  process[code === 0 ? "stdout" : "stderr"].write(`${message}\n`)
  return process.exit(code)
}

/** Reads the command line of this process. */
export const options = <Named extends Record<string, Option<unknown>>>(about: string, named: Named): Values<Named> => {
  const usage = (): string =>
    [
      about,
      "",
      ...Object.entries({ ...named, help: flag("prints this") }).map(([name, option]) => {
        const shown = option.placeholder === undefined ? `--${name}` : `--${name} ${option.placeholder}`
        return `  ${shown.padEnd(24)}${option.about}`
      })
    ].join("\n")
  const given = (): Readonly<Record<string, unknown>> => {
    try {
      const declared: ParseArgsConfig["options"] = Object.fromEntries(
        [["help", flag("")] as const, ...Object.entries(named)].map(([name, { placeholder }]) => [
          name,
          { type: placeholder === undefined ? ("boolean" as const) : ("string" as const) }
        ])
      )
      return parseArgs({ options: declared }).values
    } catch (error) {
      return end(2, `${error instanceof Error ? error.message : String(error)}\n\n${usage()}`)
    }
  }
  const values = given()
  if (values["help"] === true) end(0, usage())
  return Object.fromEntries(
    Object.entries(named).map(([name, option]) => {
      try {
        return [name, option.read(values[name])]
      } catch (error) {
        return end(2, `--${name} ${error instanceof Error ? error.message : String(error)}`)
      }
    })
  ) as Values<Named>
}

export const json = flag("prints JSON, for a program")

export const historyOptions = {
  transactions: count("transactions of the history, five changes each", 2_000_000, 10_000),
  keep: flag("leaves the history on the server of DATABASE_URL, and takes the one that is there")
}
