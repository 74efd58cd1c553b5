/**
 * What `threadline.config.ts` exports. A module of its own, so that a command that reads it need not load the rest.
 *
 * @since 0.1.0
 */
import type { Actor } from "./Actor.js"
import type * as Capture from "./Capture.js"
import type * as Retention from "./Retention.js"
import type * as ExportJobs from "./ExportJobs.js"
import type * as ExportStore from "./ExportStore.js"
import type { ReadScope, Relation } from "./Query.js"
import type * as Health from "./Health.js"

/**
 * How one table is captured, in a configuration that names its tables by key.
 *
 * @since 0.1.0
 * @category models
 */
export type TableOptions = Omit<Capture.TableConfig, "table">

/**
 * What is decided about exports and their jobs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Exports extends Pick<
  ExportJobs.Options,
  "attempts" | "backoff" | "expiresAfter" | "forgetAfter" | "lease" | "limits" | "record" | "scopeRequired"
> {
  /** Where the files of jobs lie, from the directory of the configuration. */
  readonly directory?: string | undefined
  /** The bucket where they lie, instead of a directory. Credentials are what the SDK of AWS finds in the environment. */
  readonly s3?: ExportStore.BucketOptions | undefined
  /** The scope of a name and its parameters, as `ExportJobs` asks for it; undefined if the actor may not read under it. */
  readonly scope?:
    | ((
        scope: ExportJobs.NamedScope,
        requestedBy: Actor | undefined
      ) => ReadScope | undefined | Promise<ReadScope | undefined>)
    | undefined
}

/**
 * What `threadline.config.ts` exports: if Threadline's schema is, and which tables are captured.
 *
 * @since 0.1.0
 * @category models
 */
export interface Configuration {
  /** The PostgreSQL schema that holds the record, `threadline` unless given; fixed when it is installed. */
  readonly schema?: string
  /** The role that owns it, `threadline_owner` unless given. */
  readonly ownerRole?: string
  /** A list of tables, or an object of tables by name. Names are written as in SQL: `posts`, `billing.invoices`, `"Odd.Schema"."T"`. */
  readonly tables?: ReadonlyArray<Capture.TableConfig> | { readonly [table: string]: TableOptions }
  /** Tables that must be captured; those of `tables` unless given. `threadline coverage` fails if one is not. */
  readonly expected?: ReadonlyArray<string>
  /** Tables that are not captured on purpose, each with the reason. */
  readonly expectedGaps?: NonNullable<Health.Options["expectedGaps"]>
  /**
   * `names` are words that make the name of a column sensitive, beside the known ones; `acknowledged` are columns that are recorded as
   * they are on purpose.
   */
  readonly sensitive?: NonNullable<Health.Options["sensitive"]>
  /** How long the record is kept; nothing is ever removed unless given. See `Retention.Policy`. */
  readonly retention?: Retention.Policy
  /**
   * With `record: false`, `threadline export` does not record exports as actions. The files of jobs lie in `directory`, or in the bucket
   * `s3`. The others are options of `ExportJobs`.
   */
  readonly exports?: Exports
  /**
   * The rows that `threadline serve` shows beside a row, by table:
   * `{ invoices: { lines: { table: "invoice_lines", columns: { invoice_id: "id" } } } }`.
   */
  readonly relations?: { readonly [table: string]: { readonly [name: string]: Relation } }
}

/**
 * Types a configuration.
 *
 * @example
 * ```ts
 * import { define } from "threadline/Configuration"
 *
 * export default define({
 *   tables: {
 *     "public.posts": {},
 *     "public.users": { mask: ["email"], exclude: ["password_hash"] }
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const define = (configuration: Configuration): Configuration => configuration
