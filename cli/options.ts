import * as Options from "@effect/cli/Options"
import type * as Option from "effect/Option"

/** Options without a value. */
export const flagNames = [
  "allow-less-redaction",
  "force",
  "help",
  "include-capture-only",
  "json",
  "mark-partitions",
  "pending",
  "print",
  "prune",
  "unattributed",
  "version"
] as const

/** Options with a value. */
export const valueNames = [
  "actor",
  "config",
  "correlation-id",
  "cursor",
  "exclude",
  "from",
  "key",
  "limit",
  "lock-timeout",
  "mask",
  "op",
  "operator",
  "order",
  "output",
  "owner-role",
  "reader",
  "schema",
  "table",
  "to",
  "transaction-id",
  "url",
  "writer"
] as const

export const flag = (name: (typeof flagNames)[number], description: string): Options.Options<boolean> =>
  Options.boolean(name).pipe(Options.withDescription(description))

export const value = (
  name: (typeof valueNames)[number],
  placeholder: string,
  description: string
): Options.Options<Option.Option<string>> =>
  Options.text(name).pipe(Options.withPseudoName(placeholder), Options.withDescription(description), Options.optional)

export const values = (
  name: (typeof valueNames)[number],
  placeholder: string,
  description: string
): Options.Options<ReadonlyArray<string>> =>
  Options.text(name).pipe(Options.withPseudoName(placeholder), Options.withDescription(description), Options.repeated)

/** What every command takes. */
export const common = {
  url: value("url", "URL", "Database; else THREADLINE_DATABASE_URL, else DATABASE_URL."),
  config: value("config", "FILE", "Configuration; else threadline.config.ts, .js or .json here or above."),
  schema: value(
    "schema",
    "NAME",
    "Schema that holds Threadline; else that of the configuration, else THREADLINE_SCHEMA."
  ),
  json: flag("json", "Print one JSON document.")
}

export interface Common {
  readonly url: Option.Option<string>
  readonly config: Option.Option<string>
  readonly schema: Option.Option<string>
  readonly json: boolean
}
