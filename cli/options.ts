import type * as Option from "effect/Option"
import { flag, value } from "./parser/declare.js"

export { choice, choices, flag, value, values, valuesOr } from "./parser/declare.js"

/** The options of every command. */
export const common = {
  url: value("url", "URL", "Database; default: THREADLINE_DATABASE_URL, then DATABASE_URL, then PGHOST and the like."),
  config: value("config", "FILE", "Configuration; default: threadline.config.ts, .js or .json here or above."),
  schema: value(
    "schema",
    "NAME",
    "Schema that holds Threadline; default: that of the configuration, then THREADLINE_SCHEMA."
  ),
  json: flag("json", "Print one JSON document."),
  wide: flag("wide", "Cut nothing, even on a narrow terminal.")
}

export interface Common {
  readonly url: Option.Option<string>
  readonly config: Option.Option<string>
  readonly schema: Option.Option<string>
  readonly json: boolean
  readonly wide: boolean
}
