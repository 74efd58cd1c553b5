/**
 * Threadline as a whole: its configuration, and every service in one layer.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Layer from "effect/Layer"
import * as Audit from "./Audit.js"
import * as Capture from "./Capture.js"
import * as configuration from "./Configuration.js"
import * as Evidence from "./Evidence.js"
import * as Export from "./Export.js"
import * as ExportJobs from "./ExportJobs.js"
import type { ExportStore } from "./ExportStore.js"
import * as Feed from "./Feed.js"
import * as Continuity from "./Continuity.js"
import * as Health from "./Health.js"
import { notAnObject, unknownField } from "./internal/core/request.js"
import { checkVersion } from "./internal/schema/check.js"
import { Apart } from "./internal/sql/apart.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import * as Query from "./Query.js"
import * as Retention from "./Retention.js"
import * as SavedViews from "./SavedViews.js"
import * as Semantics from "./Semantics.js"
import type { ThreadlineError } from "./ThreadlineError.js"

/**
 * What `threadline.config.ts` exports.
 *
 * @since 0.1.0
 * @category models
 */
export type Configuration = configuration.Configuration

/**
 * Types a configuration; the same as `define` of `threadline/Configuration`, which loads nothing else.
 *
 * @since 0.1.0
 * @category constructors
 */
export const define = configuration.define

/**
 * Every service of Threadline.
 *
 * @since 0.1.0
 * @category models
 */
export type Services =
  | Audit.Audit
  | Capture.Capture
  | Evidence.Evidence
  | Export.Export
  | ExportJobs.ExportJobs
  | Feed.Feed
  | Continuity.Continuity
  | Health.Health
  | Query.Query
  | Retention.Retention
  | SavedViews.SavedViews
  | Semantics.Semantics

type Client<E, R> = Layer.Layer<SqlClient.SqlClient, E, R>

/**
 * Clients for the roles of a deployment; each can be a layer of its own, `PgClient.layer({ ... })` for example.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<
  E1 = never,
  R1 = never,
  E2 = never,
  R2 = never,
  E3 = never,
  R3 = never,
  E4 = never,
  R4 = never
> {
  /** The PostgreSQL schema that holds the record, `threadline` unless given. */
  readonly schema?: string
  /** Writes the host's tables and records intent; the client the host's own statements use. */
  readonly writer: Client<E1, R1>
  /**
   * Answers reads and exports, a replica for example; `writer` unless given. What was exported is recorded by the `writer`. A read inside
   * an audited transaction runs on a connection of this client. It does not see what that transaction has written.
   */
  readonly reader?: Client<E2, R2>
  /** Attaches capture to tables, looks after it, and purges; `writer` unless given. */
  readonly owner?: Client<E3, R3>
  /**
   * Reads the feed, stores the checkpoints of its consumers, keeps saved views, and keeps and runs the jobs of exports, on a primary;
   * `reader` unless given, with which a feed can be read and no checkpoint stored, and jobs be queued but not run.
   */
  readonly operator?: Client<E4, R4>
  /**
   * Every read of `Query`, every member of `Feed` and every export fails until `Query.withScope`, or `scoped` of the service, has said
   * what the reader may see. Every job of an export must name its scope.
   */
  readonly scopeRequired?: boolean
  /** False if exports are not to be recorded as actions. */
  readonly recordExports?: boolean
  /** What is decided about jobs of exports, and the store of their files. */
  readonly exports?: Omit<ExportJobs.Options, "record" | "scopeRequired"> & {
    /** Where the files of jobs lie. */
    readonly store?: Layer.Layer<ExportStore> | undefined
  }
}

/** A misspelt `scopeRequired` would let every reader see everything. */
const optionNames = {
  schema: true,
  writer: true,
  reader: true,
  owner: true,
  operator: true,
  scopeRequired: true,
  recordExports: true,
  exports: true
} as const satisfies { readonly [Field in keyof Required<Options>]: true }

const writing = Layer.mergeAll(Audit.layer, Semantics.layer)

const checked = Layer.effectDiscard(checkVersion)

const inSchema =
  (schema: string) =>
  <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
    Layer.provide(layer, Layer.succeed(StorageSchema, schema))

/**
 * Every service, with a client for each role. Building it asks the writer's database for the version of its schema, and the
 * readers' whether row-level security hides any of the record from them, and nothing else. It fails with `ThreadlineError` if the
 * schema is missing, behind or ahead, or if some of the record is hidden. Throws `InvalidRequest` for an option that is not known.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E1, R1, E2 = never, R2 = never, E3 = never, R3 = never, E4 = never, R4 = never>(
  options: Options<E1, R1, E2, R2, E3, R3, E4, R4>
): Layer.Layer<Services, E1 | E2 | E3 | E4 | ThreadlineError, R1 | R2 | R3 | R4> => {
  const wrong = notAnObject(options) ?? unknownField(options, optionNames)
  if (wrong !== undefined) {
    throw wrong
  }
  const reader: Client<E1 | E2, R1 | R2> = options.reader ?? options.writer
  const owner: Client<E1 | E3, R1 | R3> = options.owner ?? options.writer
  const operator: Client<E1 | E2 | E4, R1 | R2 | R4> = options.operator ?? reader
  const query = options.scopeRequired === true ? Query.layerScopeRequired : Query.layer
  const feed = options.scopeRequired === true ? Feed.layerScopeRequired : Feed.layer
  const exports = Export.layerWith({ scopeRequired: options.scopeRequired, record: options.recordExports })
  const { store = Layer.empty, ...decided } = options.exports ?? {}
  const jobs = ExportJobs.layerWith({
    ...decided,
    scopeRequired: options.scopeRequired,
    record: options.recordExports
  })
  /** A client that is not the writer's reads on connections of its own, also inside an audited transaction. */
  const apartFrom = (client: Client<E1 | E2 | E4, R1 | R2 | R4>) =>
    Layer.succeed(Apart, !Object.is(client, options.writer))
  const reading = Layer.provide(Layer.effect(ExportJobs.ReadingClient, SqlClient.SqlClient), reader)
  const recording = Layer.provide(Layer.effect(Export.RecordingClient, SqlClient.SqlClient), options.writer)
  // Layers are built once for each reference: without `fresh` two deployments in one program would share their clients.
  return Layer.mergeAll(
    Layer.provide(Layer.fresh(Layer.merge(checked, writing)), options.writer),
    Layer.provide(Layer.fresh(query), Layer.merge(reader, apartFrom(reader))),
    Layer.provide(Layer.fresh(exports), Layer.merge(reader, recording)),
    Layer.provide(Layer.fresh(feed), Layer.merge(operator, apartFrom(operator))),
    Layer.provide(Layer.fresh(Layer.merge(Evidence.layer, SavedViews.layer)), operator),
    Layer.provide(Layer.fresh(jobs), Layer.mergeAll(operator, reading, store)),
    Layer.provide(Layer.fresh(Layer.mergeAll(Capture.layer, Continuity.layer, Health.layer, Retention.layer)), owner)
  ).pipe(inSchema(options.schema ?? "threadline"))
}

/**
 * Every service on one client. Jobs of exports have the `ExportStore` of the context, if there is one. The schema's name is read from `THREADLINE_SCHEMA`, `threadline` unless set. Building it asks
 * the database for the version of that schema, whether row-level security hides any of the record, and nothing else.
 *
 * @since 0.1.0
 * @category layers
 */
export const ThreadlineLive: Layer.Layer<Services, ConfigError | ThreadlineError, SqlClient.SqlClient> =
  Layer.unwrapEffect(
    Config.map(Config.withDefault(Config.nonEmptyString("THREADLINE_SCHEMA"), "threadline"), (schema) =>
      Layer.mergeAll(
        checked,
        writing,
        Query.layer,
        Export.layer,
        ExportJobs.layer,
        Feed.layer,
        Capture.layer,
        Continuity.layer,
        Health.layer,
        Retention.layer,
        Evidence.layer,
        SavedViews.layer
      ).pipe(inSchema(schema))
    )
  )
