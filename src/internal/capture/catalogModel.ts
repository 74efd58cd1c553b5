/**
 * The catalog as data: tables, what is installed on them, and the deployed policies.
 */
import * as Schema from "effect/Schema"
import { Policy } from "./model.js"
import type { watchOf } from "../sql/watch.js"

const TypeRow = Schema.Struct({
  oid: Schema.String,
  schema: Schema.String,
  name: Schema.String,
  /** `pg_type.typtype`: base, composite, domain, enum, range, multirange, pseudo. */
  kind: Schema.String,
  /** Came with PostgreSQL itself. */
  builtin: Schema.Boolean,
  extension: Schema.NullOr(Schema.String),
  element: Schema.NullOr(Schema.String),
  base: Schema.NullOr(Schema.String),
  subtype: Schema.NullOr(Schema.String),
  attributes: Schema.Array(Schema.Struct({ name: Schema.String, type: Schema.String })),
  /**
   * The cast to json that `to_jsonb` uses for this type; null if there is none. `host`: a role other than a superuser may have
   * written it.
   */
  jsonCast: Schema.NullOr(Schema.Literal("host", "trusted"))
})
export type TypeRow = typeof TypeRow.Type

const ColumnRow = Schema.Struct({
  name: Schema.String,
  attnum: Schema.Int,
  type: Schema.String,
  typeOid: Schema.String,
  notNull: Schema.Boolean,
  virtual: Schema.Boolean,
  /** The columns that a generated one is computed from. */
  computedFrom: Schema.Array(Schema.String)
})
export type ColumnRow = typeof ColumnRow.Type

const IndexRow = Schema.Struct({
  name: Schema.String,
  primary: Schema.Boolean,
  unique: Schema.Boolean,
  /** Unique, valid, ready, live, checked at once, without predicate and expressions. */
  usable: Schema.Boolean,
  columns: Schema.Array(Schema.NullOr(Schema.String))
})
export type IndexRow = typeof IndexRow.Type

const TriggerRow = Schema.Struct({
  name: Schema.String,
  /** `O`, `A`, `R`, or `D`, as `pg_trigger.tgenabled`. */
  enabled: Schema.String,
  /** Made by PostgreSQL for a partition from a row trigger of its parent. */
  cloned: Schema.Boolean,
  /** `pg_trigger.tgtype`: level, time and event as bits. */
  type: Schema.Int,
  /** Has a WHEN condition or a list of columns. */
  conditional: Schema.Boolean,
  /** The function in Threadline's schema that it calls; null for a trigger of the host. */
  calls: Schema.NullOr(Schema.String)
})
export type TriggerRow = typeof TriggerRow.Type

const Relation = Schema.Struct({
  oid: Schema.String,
  schema: Schema.String,
  name: Schema.String,
  kind: Schema.String,
  level: Schema.Int,
  temporary: Schema.Boolean,
  system: Schema.Boolean,
  rowSecurity: Schema.Boolean,
  /** A crash empties it. */
  unlogged: Schema.Boolean,
  /** The root when the relation is a partition. */
  partitionOf: Schema.NullOr(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  inherits: Schema.Boolean,
  children: Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  /** What the connected role may do. */
  owned: Schema.Boolean,
  mayTrigger: Schema.Boolean,
  /** LOCK TABLE in a mode that keeps writers off. */
  mayLock: Schema.Boolean,
  mayGrantSelect: Schema.Boolean,
  mayGrantUsage: Schema.Boolean,
  /** What the role that owns Threadline's schema may do. */
  ownerReads: Schema.Boolean,
  ownerUsesSchema: Schema.Boolean,
  /**
   * Other roles that may make triggers, and so replace ours. Names as in SQL, without the roles that control the table or the
   * record anyway.
   */
  othersTrigger: Schema.Array(Schema.String),
  triggers: Schema.Array(TriggerRow)
})
export type Relation = typeof Relation.Type

const Table = Schema.Struct({
  oid: Schema.String,
  columns: Schema.Array(ColumnRow),
  indexes: Schema.Array(IndexRow),
  /** The table itself first, then its partitions, parents before children. */
  relations: Schema.NonEmptyArray(Relation)
})
export type Table = typeof Table.Type

const FunctionRow = Schema.Struct({
  name: Schema.String,
  owner: Schema.String,
  ownerSuperuser: Schema.Boolean,
  /** SHA-256 of the body. */
  bodyHash: Schema.String,
  trigger: Schema.Boolean
})
export type FunctionRow = typeof FunctionRow.Type

/** Why nothing is known of a captured table at present. */
export const Gap = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  gap: Schema.NullOr(
    Schema.Literal(
      "gone",
      "replaced",
      "triggers",
      "partitions",
      "touched",
      "key",
      "rewritten",
      "restarted",
      "unwatched"
    )
  ),
  /** The earliest time of all that is wrong, as the session writes it. */
  since: Schema.NullOr(Schema.String),
  /** Partitions of the policy that left since, also if they came back. */
  moved: Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  /** Enums in the key of which a value has another name. */
  alteredTypes: Schema.Array(Schema.String),
  /** Partitions that have the name of one that the policy knows, and are other relations. */
  otherPartitions: Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  /** Columns whose values ALTER TABLE may have written anew. */
  rewritten: Schema.Array(Schema.String),
  /** Columns outside the key whose values are shown otherwise, each with the type within it that was altered, or that it has now. */
  shownOtherwise: Schema.Array(Schema.Struct({ column: Schema.String, type: Schema.String })),
  /** Another session, or row-level security, keeps its rows from being read. They may show that ALTER TABLE did not write them. */
  unread: Schema.Boolean,
  /** The server has lost what unlogged tables held, or may have. */
  restarted: Schema.Boolean,
  /** The policy was written in another database, of which this one is a restore or a copy. */
  elsewhere: Schema.Boolean
})
export type Gap = typeof Gap.Type

const Deployed = Schema.Struct({
  policy: Policy,
  relation: Schema.String,
  /** The table that has the recorded OID now. OIDs change with a restore, so this is a hint and never a proof. */
  relationNow: Schema.NullOr(Schema.Struct({ schema: Schema.String, name: Schema.String }))
})
export type Deployed = typeof Deployed.Type

export const Catalog = Schema.Struct({
  /** `pg_current_snapshot()` when the catalog was read: `isCurrent` compares with it. */
  snapshot: Schema.String,
  serverVersion: Schema.Int,
  role: Schema.String,
  /** Foreign tables can be made in this database. */
  foreignServers: Schema.Boolean,
  storage: Schema.Struct({
    owner: Schema.String,
    ownerSuperuser: Schema.Boolean,
    mayBecomeOwner: Schema.Boolean,
    inheritsOwner: Schema.Boolean,
    /** The connected role may execute `capture_gap`, which tells why nothing is known of a table. */
    knowsGaps: Schema.Boolean
  }),
  tables: Schema.Array(Table),
  types: Schema.Array(TypeRow),
  functions: Schema.Array(FunctionRow),
  /** Every captured table, by the name it was applied under. */
  active: Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  /** Policies of the tables that were asked for. */
  deployed: Schema.Array(Deployed),
  /** Relations outside of every captured table that have triggers of Threadline. */
  strays: Schema.Array(
    Schema.Struct({
      schema: Schema.String,
      name: Schema.String,
      kind: Schema.String,
      /** The root when it is a partition. */
      partitionOf: Schema.NullOr(Schema.Struct({ schema: Schema.String, name: Schema.String })),
      triggers: Schema.Array(TriggerRow)
    })
  )
})
export interface Catalog extends Schema.Schema.Type<typeof Catalog> {
  readonly gaps: ReadonlyArray<Gap>
  readonly watch: ReturnType<typeof watchOf>
  /** Tables that have another name than their policy, or had one for a while: for `follow_names`. */
  readonly strayed: ReadonlyArray<Strayed>
}

export interface Name {
  readonly schema: string
  readonly name: string
}

const NameRow = Schema.Struct({ schema: Schema.String, name: Schema.String })

export const Strayed = Schema.Struct({ from: Schema.parseJson(NameRow), to: Schema.parseJson(NameRow) })

/** The name that a policy has, and that of its table. */
export type Strayed = typeof Strayed.Type
