/** Saved views in the database. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type { Page } from "../../Page.js"
import { fromSqlError, type InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { mostViews } from "../core/limits.js"
import { canonicalRequest, mustBeObject, type Paging, paging, request } from "../core/request.js"
import { nearest } from "../core/suggest.js"
import { instantColumn } from "../record/change.js"
import * as cursors from "../record/cursor.js"
import { pageOf } from "../record/page.js"
import { all, rows, type Storage, writtenRows } from "../record/storage.js"
import { mustBeWhole } from "../record/whole.js"
import type { Filter } from "../search/filters.js"
import { fromUrl } from "../search/filterUrl.js"
import { check, checkName, checkOwner, type Given, type OwnerInput } from "./check.js"
import { Owner, type SavedView, SavedViewError } from "./model.js"

/**
 * Which views are listed: all, unless an owner or a name is given.
 *
 * @since 0.1.0
 * @category models
 */
export interface ViewFilter extends Paging {
  /** Only views of this owner. */
  readonly owner?: OwnerInput | undefined
  /** Only views of this name. */
  readonly name?: string | undefined
}

const Row = Schema.Struct({
  id: Schema.String,
  owner_type: Owner.fields.type,
  owner_id: Schema.String,
  name: Schema.String,
  filter: Schema.String,
  since: Schema.NullOr(Schema.String),
  created_at: Schema.String,
  updated_at: Schema.String
})

const viewOf = (row: typeof Row.Type): SavedView => ({
  id: row.id,
  owner: { type: row.owner_type, id: row.owner_id },
  name: row.name,
  filter: row.filter,
  since: row.since,
  createdAt: row.created_at,
  updatedAt: row.updated_at
})

const select = ({ name, sql }: Storage) => sql`
  select
    v.id::text as id,
    v.owner_type::text as owner_type,
    v.owner_id::text as owner_id,
    v.name::text as name,
    v.filter::text as filter,
    v.since::text as since,
    ${instantColumn(sql, "v.created_at")} as created_at,
    ${instantColumn(sql, "v.updated_at")} as updated_at
  from ${name("saved_views")} v`

const ofOwner = ({ sql }: Storage, { id, type }: Owner) => sql`v.owner_type = ${type} and v.owner_id = ${id}`

const Listing = Schema.Struct({
  owner: Schema.optional(Schema.Unknown),
  name: Schema.optional(Schema.Unknown),
  ...paging
})

export const list = Effect.fnUntraced(function* (
  storage: Storage,
  filter: ViewFilter
): Effect.fn.Return<Page<SavedView>, InvalidRequest | ThreadlineError> {
  yield* mustBeObject(filter, "filter")
  const { cursor, limit } = yield* request(Listing)(filter)
  const owner = filter.owner === undefined ? undefined : yield* checkOwner(filter.owner)
  const name = filter.name === undefined ? undefined : yield* checkName(filter.name)
  const { sql } = storage
  const query: cursors.Query = { kind: "views", order: "ids", text: canonicalRequest({ owner, name }) }
  const after = cursor === undefined ? undefined : yield* cursors.decode(storage, query, cursor)
  yield* mustBeWhole(storage)
  const viewRows = yield* rows(
    Row,
    sql`
      ${select(storage)}
      where ${all([
        owner === undefined ? undefined : ofOwner(storage, owner),
        name === undefined ? undefined : sql`v.name = ${name}`,
        after === undefined ? undefined : sql`v.id < ${after.id.toString()}::bigint`
      ])}
      order by v.id desc
      limit ${limit + 1}`
  )
  return yield* pageOf(storage, viewRows.map(viewOf), limit, query, ({ id }) => ({ major: BigInt(id), id: BigInt(id) }))
})

/** Fails with `NotFound`, and suggests the name of the owner's views that is most similar. */
const missing = Effect.fnUntraced(function* (storage: Storage, owner: Owner, name: string) {
  const others = yield* rows(
    Schema.Struct({ name: Schema.String }),
    storage.sql`
      select v.name::text as name
      from ${storage.name("saved_views")} v
      where ${ofOwner(storage, owner)}`
  )
  const suggestion = nearest(
    name,
    others.map((other) => other.name)
  )
  return yield* new NotFound({ subject: "view", id: name, ...(suggestion === undefined ? {} : { suggestion }) })
})

export const get = Effect.fnUntraced(function* (
  storage: Storage,
  ownerInput: OwnerInput,
  nameInput: string
): Effect.fn.Return<SavedView, InvalidRequest | NotFound | ThreadlineError> {
  const owner = yield* checkOwner(ownerInput)
  const name = yield* checkName(nameInput)
  yield* mustBeWhole(storage)
  const [found] = yield* rows(
    Row,
    storage.sql`${select(storage)} where ${ofOwner(storage, owner)} and v.name = ${name}`
  )
  return found === undefined ? yield* missing(storage, owner, name) : viewOf(found)
})

const Saved = Schema.Struct({ saved: Schema.Literal("saved", "taken", "full") })

export const save = Effect.fnUntraced(function* (
  storage: Storage,
  given: Given
): Effect.fn.Return<SavedView, InvalidRequest | NotFound | SavedViewError | ThreadlineError> {
  const { filter, name, owner, replace, since } = yield* check(given)
  yield* mustBeWhole(storage)
  const [outcome] = yield* writtenRows(
    storage,
    Saved,
    storage.sql`
      select ${storage.name("save_view")}(
        ${owner.type}, ${owner.id}, ${name}, ${filter}, ${since}, ${replace}, ${mostViews}
      )::text as saved`,
    fromSqlError
  )
  if (outcome?.saved === "taken") {
    return yield* new SavedViewError({ reason: "NameTaken", detail: `${owner.type}:${owner.id} has a view ${name}` })
  }
  if (outcome?.saved === "full") {
    return yield* new SavedViewError({
      reason: "TooMany",
      detail: `${owner.type}:${owner.id} has ${mostViews} views, which is the most: delete one first`
    })
  }
  return yield* get(storage, owner, name)
})

const Deleted = Schema.Struct({ deleted: Schema.Boolean })

export const remove = Effect.fnUntraced(function* (
  storage: Storage,
  ownerInput: OwnerInput,
  nameInput: string
): Effect.fn.Return<void, InvalidRequest | NotFound | ThreadlineError> {
  const owner = yield* checkOwner(ownerInput)
  const name = yield* checkName(nameInput)
  yield* mustBeWhole(storage)
  const [outcome] = yield* writtenRows(
    storage,
    Deleted,
    storage.sql`select ${storage.name("delete_view")}(${owner.type}, ${owner.id}, ${name}) as deleted`,
    fromSqlError
  )
  if (outcome?.deleted !== true) {
    yield* missing(storage, owner, name)
  }
})

/** The filter of a view, as it was saved. */
export const filterOf = ({ filter, name }: SavedView): Either.Either<Filter, ThreadlineError> =>
  Either.mapLeft(
    fromUrl(filter),
    (cause) =>
      new ThreadlineError({
        reason: "Failed",
        detail: `the filter of the view ${name} cannot be read by this version of Threadline`,
        cause
      })
  )
