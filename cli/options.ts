import * as Options from "@effect/cli/Options"
import type * as Option from "effect/Option"

/** Options without a value. */
export const flagNames = [
  "allow-less-redaction",
  "follow",
  "force",
  "help",
  "include-capture-only",
  "json",
  "mark-partitions",
  "ndjson",
  "pending",
  "print",
  "prune",
  "unattributed",
  "version"
] as const

/** Options with a value. */
export const valueNames = [
  "action",
  "action-status",
  "actor",
  "changed-field",
  "checkpoint",
  "config",
  "contains",
  "correlation-id",
  "cursor",
  "db-user",
  "exclude",
  "from",
  "impersonator",
  "job-id",
  "key",
  "limit",
  "lock-timeout",
  "mask",
  "meta",
  "op",
  "operator",
  "order",
  "output",
  "owner-role",
  "reader",
  "request-id",
  "schema",
  "source",
  "table",
  "table-schema",
  "to",
  "trace-id",
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
