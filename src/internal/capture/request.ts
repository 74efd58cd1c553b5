/**
 * Checks what a caller gives to `Capture`: the configuration of tables, and options.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { InvalidRequest } from "../../ThreadlineError.js"
import { millis, mistakeIn, mustHaveOnly } from "../core/request.js"
import * as TableName from "../core/tableName.js"
import { CaptureError } from "./captureError.js"
import { checkFormerNames } from "./formerly.js"
import { hostMend } from "./mend.js"
import { TableConfig } from "./model.js"
import { type ConfiguredTable, label, sameName } from "./resolve.js"
import type { PlanOptions } from "./tablePlan.js"

export interface ApplyOptions extends PlanOptions {
  readonly prune?: boolean | undefined
  readonly allowLessRedaction?: boolean | undefined
  readonly lockTimeout?: Duration.DurationInput | undefined
  readonly retries?: number | undefined
}

/** The options of `plan`, `apply` and `remove`. */
const knownOptions = {
  force: true,
  prune: true,
  markPartitions: true,
  allowLessRedaction: true,
  lockTimeout: true,
  retries: true
} as const satisfies Record<keyof ApplyOptions, true>

/** Checks options that may not have been type-checked. */
export const checkOptions = Effect.fnUntraced(function* (options: ApplyOptions) {
  yield* mustHaveOnly(options, knownOptions)
  yield* millis("lockTimeout", options.lockTimeout ?? "3 seconds")
  const { retries } = options
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0)) {
    return yield* new InvalidRequest({ field: "retries", rule: "must be a whole number, at least 0" })
  }
})

const TableConfigs = Schema.Array(TableConfig).annotations({ message: () => "must be a list of tables" })

const decodeConfigs = Schema.decodeUnknown(TableConfigs, { onExcessProperty: "error" })

/** Checks configuration. It may come from a file that was not type-checked, and a misspelt `mask` must not go unnoticed. */
export const readConfigs: (
  tables: ReadonlyArray<TableConfig>
) => Effect.Effect<ReadonlyArray<ConfiguredTable>, CaptureError | InvalidRequest> = Effect.fnUntraced(function* (
  tables: ReadonlyArray<TableConfig>
) {
  const configs = yield* Effect.mapError(decodeConfigs(tables), invalidIn("tables"))
  const configuredTables: Array<ConfiguredTable> = []
  for (const [index, config] of configs.entries()) {
    const name = yield* TableName.parse(config.table, `tables[${index}].table`)
    for (const [place, formerName] of (config.formerly ?? []).entries()) {
      yield* TableName.parse(formerName, `tables[${index}].formerly[${place}]`)
    }
    if (configuredTables.some((other) => sameName(other, name))) {
      yield* new CaptureError({
        table: label(name),
        refusal: { reason: "DuplicateTable" },
        mend: hostMend("keepOne")
      })
    }
    configuredTables.push({ ...name, config })
  }
  yield* checkFormerNames(configuredTables)
  return configuredTables
})

/** What is wrong with a value of the configuration, as a request that names the place inside `field`. */
export const invalidIn =
  (field: string) =>
  (error: ParseResult.ParseError): InvalidRequest => {
    const { path, rule } = mistakeIn(error)
    const place = path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("")
    return new InvalidRequest({ field: `${field}${place}`, rule })
  }
