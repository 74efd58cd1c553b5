/**
 * The types and errors of `Migrations`. They are in a file of their own because the parts of `Migrations` need them too.
 */
import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { formed, formedSchema } from "../core/jsonForm.js"
import { WatchState } from "../sql/watch.js"
import { Concern } from "./concern.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("threadline/Migrations")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * One migration file. `checksum` is the SHA-256 of `sql`, in hexadecimal.
 *
 * @since 0.1.0
 * @category models
 */
export interface Migration {
  /** Its number. They are applied in this order. */
  readonly id: number
  /** What it is about; with the number, the name of its file. */
  readonly name: string
  /** The statements, as they are in the file. */
  readonly sql: string
  /** SHA-256 of `sql`, in hexadecimal. */
  readonly checksum: string
}

/**
 * Why migrating failed.
 *
 * - `Unreachable`: nothing answers, or the connection was lost. Nothing is half done; run it again.
 * - `TooOld`: the server is older than PostgreSQL 15.
 * - `NewerSchema`: the schema was migrated by a newer Threadline.
 * - `InsufficientPrivilege`: the role may not create the schema, or not act as its owner.
 * - `RecordHidden`: row-level security may hide the migrations that are applied.
 * - `ReadOnly`: the server is a replica, which takes no writes.
 * - `ChecksumMismatch`: an applied migration had other statements than the one that this library has.
 * - `SchemaTaken`: the schema exists and holds something else.
 * - `OwnerRefused`: the owner role asked for is a superuser.
 * - `Busy`: a table stayed locked for longer than `lockTimeout`.
 * - `Failed`: any other failure of a statement; `sqlState` says which.
 *
 * @since 0.1.0
 * @category errors
 */
export const Reason = Schema.Literal(
  "Unreachable",
  "TooOld",
  "NewerSchema",
  "InsufficientPrivilege",
  "RecordHidden",
  "ReadOnly",
  "ChecksumMismatch",
  "SchemaTaken",
  "OwnerRefused",
  "Busy",
  "Failed"
)

/**
 * @since 0.1.0
 * @category errors
 */
export type Reason = typeof Reason.Type

/**
 * Migrating failed and changed nothing. `detail` is a sentence for people.
 *
 * @since 0.1.0
 * @category errors
 */
export class MigrationError extends Schema.TaggedError<MigrationError>("threadline.MigrationError")("MigrationError", {
  reason: Reason,
  detail: Schema.String,
  sqlState: Schema.optional(Schema.String),
  cause: Schema.optional(Schema.Defect)
}) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /** @since 0.1.0 */
  static is(u: unknown): u is MigrationError {
    return Predicate.isTagged(u, "MigrationError") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return this.detail
  }
}

/**
 * The name of the schema and its owner.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Name of the schema; `threadline` unless configured otherwise. Fixed at install. */
  readonly schema?: string | undefined
  /**
   * The role that owns everything that Threadline stores; `threadline_owner` unless given. The first run creates it if the
   * connected role may. Otherwise the connected role becomes the owner, and the result says so.
   */
  readonly ownerRole?: string | undefined
  /** Id of the last migration to apply; default the newest. */
  readonly to?: number | undefined
  /**
   * True turns the schema watch on, false turns it off. Otherwise it stays as it is. Its event triggers require a superuser, or
   * the role that a managed service gives in its place. Without one, the run fails with `InsufficientPrivilege` and does nothing.
   */
  readonly watchSchema?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface RunOptions extends Options {
  /** How long to wait for a locked table before giving up with `Busy`; default 10 seconds. */
  readonly lockTimeout?: Duration.DurationInput | undefined
}

/**
 * One migration without its text. `all` has the text.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Summary = Schema.Struct({
  id: Schema.Int,
  name: Schema.String,
  /** SHA-256 of the text, in hexadecimal. */
  checksum: Schema.String
}).annotations({ identifier: "threadline.Migrations.Summary" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Summary extends Schema.Schema.Type<typeof Summary> {}

/**
 * What a run did.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RunResult = Schema.Struct({
  schema: Schema.String,
  /** The role that owns the schema. */
  owner: Schema.String,
  /** Migrations applied by this run, in order; empty if there was nothing to do. */
  applied: Schema.Array(Summary),
  /** Number of the last applied migration. */
  version: Schema.Int,
  /** Partitions of `audit_changes` made by this run. */
  partitions: Schema.Array(Schema.String),
  /** What is wrong with how the record stands in its database after this run; `describeConcern` says it in words. */
  concerns: Schema.Array(Concern),
  /** The schema watch after this run. */
  watch: WatchState,
  /**
   * Sentences for people on what should be better, such as an owner that can log in: the concerns, and a record in another
   * schema.
   */
  notices: Schema.Array(Schema.String)
}).annotations({ identifier: "threadline.Migrations.RunResult" })

/**
 * @since 0.1.0
 * @category models
 */
export interface RunResult extends Schema.Schema.Type<typeof RunResult> {}

/**
 * One row of the bookkeeping.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Applied = Schema.Struct({
  id: Schema.Int,
  name: Schema.String,
  /** SHA-256 of the text that was applied, in hexadecimal. */
  checksum: Schema.String,
  /** UTC, with microseconds. */
  appliedAt: Schema.String,
  appliedBy: Schema.String
}).annotations({ identifier: "threadline.Migrations.Applied" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Applied extends Schema.Schema.Type<typeof Applied> {}

const PlainStatus = Schema.Struct({
  schema: Schema.String,
  state: Schema.Literal("absent", "behind", "current", "mismatch", "newer"),
  /** The role that owns the schema; none if there is no schema of this name. */
  owner: Schema.OptionFromNullOr(Schema.String),
  /** What is wrong with how the record stands in its database; `describeConcern` says it in words. */
  concerns: Schema.Array(Concern),
  /** The schema watch: whether it sees everything, something, or is off. */
  watch: WatchState,
  /** Number of the last applied migration; 0 if there is none. */
  version: Schema.Int,
  /** Number of the newest migration of this library. */
  latest: Schema.Int,
  applied: Schema.Array(Applied),
  pending: Schema.Array(Summary),
  /** Applied with other statements than this library has. */
  mismatched: Schema.Array(Applied),
  /** Applied, and not known to this library. */
  unknown: Schema.Array(Applied)
}).annotations({ identifier: "threadline.Migrations.Status" })

/**
 * How the database compares with this library.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status extends Schema.Schema.Type<typeof PlainStatus> {}

export const makeStatus: (status: Status) => Status = formed((status: Status) => ({
  ...status,
  owner: Option.getOrNull(status.owner)
}))

/**
 * The JSON of a status. `owner` is null if there is none.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Status: Schema.Schema<Status, typeof PlainStatus.Encoded> = formedSchema(PlainStatus, makeStatus)

/**
 * @since 0.1.0
 * @category options
 */
export interface RenderOptions extends Options {
  /** Id of the first migration of the text; default 1, a whole installation. */
  readonly from?: number | undefined
  /**
   * Whether the text begins and commits its own transaction; default true. Give false for a tool that wraps each file in a
   * transaction. The text then refuses to run outside of one, and restores the settings that it changed.
   */
  readonly transaction?: boolean | undefined
}
