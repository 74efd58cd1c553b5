/**
 * What is wrong with how the record stands in its database, as data and in words.
 */
import * as Schema from "effect/Schema"
import type { Standing } from "../sql/standing.js"
import { describeWatch, WatchProblem } from "../sql/watch.js"

const Names = Schema.Array(Schema.String)

/**
 * One thing that is wrong with how the record stands in its database. Roles and tables are written as in SQL.
 *
 * - `OwnerIsSuperuser`: functions of the record run with all rights.
 * - `OwnerCanLogin`: a session that logs in as the owner can change the record.
 * - `RowSecurity`: row-level security is on for tables of the record and may hide rows from readers.
 * - `Unidentified`: tables in which an update or a delete fails as soon as a publication covers them.
 * - `Writable`: roles other than the owner may write tables of the record, create objects in its schema, or use its trigger functions.
 * - `NotOwned`: objects of the record belong to roles other than its owner, which may change them.
 * - `WritableByRole`: roles may write every table, by membership in `pg_write_all_data`.
 * - `WatchBroken`: the schema watch is on, and does not see everything.
 *
 * @since 0.1.0
 * @category models
 */
export const Concern = Schema.Union(
  Schema.TaggedStruct("OwnerIsSuperuser", { owner: Schema.String }),
  Schema.TaggedStruct("OwnerCanLogin", { owner: Schema.String }),
  Schema.TaggedStruct("RowSecurity", { tables: Names }),
  Schema.TaggedStruct("Unidentified", { tables: Names }),
  Schema.TaggedStruct("Writable", { roles: Names }),
  Schema.TaggedStruct("NotOwned", {
    /** The owner of the record. */
    owner: Schema.String,
    /** As `alter` names them: `table threadline.migrations`. */
    objects: Schema.Array(Schema.Struct({ object: Schema.String, owner: Schema.String }))
  }),
  Schema.TaggedStruct("WritableByRole", { roles: Names }),
  Schema.TaggedStruct("WatchBroken", { problems: Schema.Array(WatchProblem) })
).annotations({ identifier: "threadline.Migrations.Concern" })

/**
 * @since 0.1.0
 * @category models
 */
export type Concern = typeof Concern.Type

export const concernsOf = (
  standing: Standing,
  { problems }: { readonly problems: ReadonlyArray<WatchProblem> }
): ReadonlyArray<Concern> => [
  ...(standing.ownerSuperuser
    ? [{ _tag: "OwnerIsSuperuser" as const, owner: standing.owner }]
    : standing.ownerCanLogin
      ? [{ _tag: "OwnerCanLogin" as const, owner: standing.owner }]
      : []),
  ...(standing.rowSecurity.length > 0 ? [{ _tag: "RowSecurity" as const, tables: standing.rowSecurity }] : []),
  ...(standing.unidentified.length > 0 ? [{ _tag: "Unidentified" as const, tables: standing.unidentified }] : []),
  ...(standing.writers.length > 0 ? [{ _tag: "Writable" as const, roles: standing.writers }] : []),
  ...notOwnedIn(standing),
  ...(standing.writersOfAll.length > 0 ? [{ _tag: "WritableByRole" as const, roles: standing.writersOfAll }] : []),
  ...(problems.length > 0 ? [{ _tag: "WatchBroken" as const, problems }] : [])
]

/** What does not belong to the owner of the record, if there is something. */
export const notOwnedIn = ({ notOwned, owner }: Standing): ReadonlyArray<Concern> =>
  notOwned.length > 0 ? [{ _tag: "NotOwned", owner, objects: notOwned }] : []

/**
 * A concern in a sentence, with what to do.
 *
 * @since 0.1.0
 * @category rendering
 */
export const describeConcern = (concern: Concern): string => {
  switch (concern._tag) {
    case "OwnerIsSuperuser":
      return (
        `the schema belongs to the superuser ${concern.owner}, so its functions run with all rights: ` +
        `give it and what it holds to a role that is none`
      )
    case "OwnerCanLogin":
      return (
        `the schema belongs to ${concern.owner}, a role that can log in: anyone who logs in as it can change the record. ` +
        `If roles may not be made here, have the owner role made and granted before the first run`
      )
    case "RowSecurity":
      return (
        `row-level security may hide rows of the record from readers: ` +
        concern.tables.map((table) => `alter table ${table} disable row level security`).join("; ")
      )
    case "Unidentified":
      return (
        `an update or a delete fails in ${concern.tables.join(", ")} once a publication covers them: ` +
        "threadline migrate up gives them a replica identity"
      )
    case "Writable":
      return (
        `these roles may write the record: ${concern.roles.join(", ")}; threadline migrate up revokes that, ` +
        "and default privileges of the owner give it again to what is made later"
      )
    case "NotOwned":
      return (
        `these belong to other roles than ${concern.owner}, which may change them: ` +
        `${concern.objects.map(({ object, owner }) => `${object} (${owner})`).join(", ")}; see what these roles did to them, and give them back: ` +
        concern.objects.map(({ object }) => `alter ${object} owner to ${concern.owner}`).join("; ")
      )
    case "WritableByRole":
      return (
        `these roles may write every table, the record too: ${concern.roles.join(", ")}; ` +
        `revoke pg_write_all_data from ${concern.roles.join(", ")}`
      )
    case "WatchBroken":
      return `the schema watch does not see everything: ${describeWatch(concern.problems)}; threadline migrate up --watch-schema mends it`
  }
}
