/**
 * Whether capture does what it should: coverage of every table and partition, and findings with what mends them.
 *
 * Health asks the catalog and the record, and reads and locks no table of the host. It works through PgBouncer, and as a role that may
 * read little: what it may not look at is a finding (`Unknown`), and not an error.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Failure } from "./Capture.js"
import * as telemetry from "./internal/core/telemetry.js"
import { mustBeObject } from "./internal/core/request.js"
import type { Coverage, Finding, PolicyComparison, Report } from "./internal/health/model.js"
import type * as options from "./internal/health/options.js"
import { canaryFindings as findingsOfCanary, readCanary } from "./internal/health/canaries.js"
import type { CanaryResult } from "./internal/health/canary.js"
import { readCoverage } from "./internal/health/covered.js"
import { readPolicies } from "./internal/health/policies.js"
import { readReport } from "./internal/health/report.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import { InvalidRequest } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export {
  Code,
  ColumnPolicy,
  Coverage,
  CoverageStatus,
  Finding,
  Lapse,
  PolicyComparison,
  RelationCoverage,
  Report,
  Severity,
  Shown,
  TriggerState
} from "./internal/health/model.js"

/**
 * @since 0.1.0
 */
export { Fact } from "./internal/health/fact.js"

/**
 * @since 0.1.0
 */
export { Expected, ExpectedGaps, Sensitive } from "./internal/health/options.js"

/**
 * @since 0.1.0
 */
export { CanaryResult } from "./internal/health/canary.js"

/**
 * @since 0.1.0
 */
export { looksSensitive, sensitiveWords } from "./internal/health/sensitive.js"

/**
 * What health compares the database with; `{}` compares with nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends options.Options {}

/**
 * The same, with `all`: also the tables of the host that nobody configured.
 *
 * @since 0.1.0
 * @category models
 */
export interface CoverageOptions extends Options {
  /** True for every table of the host, also those that nobody configured. */
  readonly all?: boolean | undefined
}

/**
 * Coverage and findings.
 *
 * @since 0.1.0
 * @category services
 */
export class Health extends Context.Tag("threadline/Health")<
  Health,
  {
    /**
     * How every table that is captured, configured, expected or declared as a gap is covered, by name. The role must be able to read
     * the record; otherwise this fails with `InsufficientPrivilege`, because a gate must not pass on what it could not see.
     */
    readonly coverage: (options?: CoverageOptions) => Effect.Effect<ReadonlyArray<Coverage>, Failure>
    /** Coverage and every finding, from one snapshot. What the role may not look at is a finding with the code `Unknown`. */
    readonly report: (options?: Options) => Effect.Effect<Report, Failure>
    /**
     * Proves capture by writing: changes one row of every captured table and partition, asks the record, and rolls everything back, in a
     * transaction of at most a second each. The role must be able to read the record, and to change the tables; what it cannot try is
     * `unknown`. Triggers of the host fire, and ids of the record and values of sequences that they take are not given back. Not to
     * be called inside a transaction.
     */
    readonly canary: Effect.Effect<ReadonlyArray<CanaryResult>, Failure>
    /** The policy of every configured and every captured table, by name: what is configured, what is deployed, and what differs. */
    readonly policies: (options?: Options) => Effect.Effect<ReadonlyArray<PolicyComparison>, Failure>
  }
>() {}

const make = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const storage = yield* StorageSchema
  return Health.of({
    coverage: Effect.fnUntraced(
      function* (options: CoverageOptions = {}) {
        yield* mustBeObject(options)
        const { all, ...rest } = options
        if (all !== undefined && typeof all !== "boolean") {
          return yield* new InvalidRequest({ field: "all", rule: "must be true or false" })
        }
        return yield* readCoverage(sql, storage, rest, all === true ? "all" : "known")
      },
      telemetry.operation("health", "coverage")
    ),
    report: (options: Options = {}) => telemetry.operation("health", "report")(readReport(sql, storage, options)),
    canary: telemetry.operation("health", "canary")(readCanary(sql, storage)),
    policies: (options: Options = {}) => telemetry.operation("health", "policies")(readPolicies(sql, storage, options))
  })
})

/**
 * Health over the `SqlClient` in context. Building it asks the database nothing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Health, never, SqlClient.SqlClient> = Layer.effect(Health, make)

/**
 * How tables are covered.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Health } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const uncovered = Effect.map(
 *   Health.coverage({ expected: ["posts", "users"], expectedGaps: { sessions: "holds no data of persons" } }),
 *   (tables) => tables.filter(({ refused }) => refused !== null)
 * )
 * ```
 */
export const coverage = (options?: CoverageOptions): Effect.Effect<ReadonlyArray<Coverage>, Failure, Health> =>
  Effect.flatMap(Health, (health) => health.coverage(options))

/**
 * Coverage and every finding, the graver ones first.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Health } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const errors = Effect.map(Health.report({ tables: [{ table: "posts" }] }), ({ findings }) =>
 *   findings.filter(({ severity }) => severity === "error").map(({ message, object }) => `${object}: ${message}`)
 * )
 * ```
 */
export const report = (options?: Options): Effect.Effect<Report, Failure, Health> =>
  Effect.flatMap(Health, (health) => health.report(options))

/**
 * Policies as configured and as deployed.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Health } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const drifted = Effect.map(Health.policies({ tables: [{ table: "users", mask: ["email"] }] }), (policies) =>
 *   policies.filter(({ drift }) => drift).map(({ table }) => table)
 * )
 * ```
 */
export const policies = (options?: Options): Effect.Effect<ReadonlyArray<PolicyComparison>, Failure, Health> =>
  Effect.flatMap(Health, (health) => health.policies(options))

/**
 * Proves capture by writing and rolling back.
 *
 * @since 0.1.0
 * @category accessors
 */
export const canary: Effect.Effect<ReadonlyArray<CanaryResult>, Failure, Health> = Effect.flatMap(
  Health,
  (health) => health.canary
)

/**
 * What a canary found, as findings: `CanaryFailed` is an error, `CanaryUnknown` good to know.
 *
 * @since 0.1.0
 * @category conversions
 */
export const canaryFindings: (results: ReadonlyArray<CanaryResult>) => ReadonlyArray<Finding> = findingsOfCanary
