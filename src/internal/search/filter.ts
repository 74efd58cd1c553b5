/**
 * A filter of a read: what a caller writes, decoded, and what it adds to a statement.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Either from "effect/Either"
import { InvalidRequest } from "../../ThreadlineError.js"
import type { FilterInput } from "./filterInput.js"
import type { Part } from "./filterPart.js"
import { Filter, type Filters, filters, type Others } from "./filters.js"
import { request } from "../core/request.js"
import { tableOf } from "../record/key.js"
import type { Storage } from "../record/storage.js"
import type { Table } from "../record/tables.js"

/**
 * Whether a filter names one thing: a transaction, a row, an actor, a correlation or an id of another system. If a search for it
 * ended among hidden rows, its end would show that the thing exists.
 */
export const namesOne = ({ actor, correlationId, jobId, key, requestId, traceId, transactionId }: Filter): boolean =>
  [actor?.id, correlationId, jobId, key, requestId, traceId, transactionId].some((name) => name !== undefined)

const invalid = (field: string, ...rule: ReadonlyArray<string | { readonly field: string }>) =>
  Either.left(InvalidRequest.of(field, ...rule))

/**
 * Decodes a filter, and checks the rules between its fields, without a database. Every read with a wrong filter fails with the
 * same error.
 *
 * @since 0.1.0
 * @category conversions
 */
export const decodeFilter = (input: FilterInput): Either.Either<Filter, InvalidRequest> =>
  Either.flatMap(request(Filter)(input satisfies typeof Filter.Encoded), (decoded) => {
    const { action, actor, from, impersonator, key, op, schema, table, to } = decoded
    if (key !== undefined && table?.length !== 1) {
      return invalid("key", table === undefined ? "needs the table that it is a key of" : "is a key of one table only")
    }
    if (schema !== undefined && table?.every((name) => tableOf(name).schema !== schema) === true) {
      return invalid("schema", "holds none of the tables of this filter")
    }
    if (decoded.changedField !== undefined && op !== undefined && !op.includes("update")) {
      return invalid("changedField", "is about updates, which ", { field: "op" }, " leaves out")
    }
    if (decoded.unattributed === true && decoded.actorLabel !== undefined) {
      return invalid("unattributed", "excludes every ", { field: "actorLabel" }, "; leave one of the two out")
    }
    for (const [field, filteredActor] of [
      ["actor", actor],
      ["impersonator", impersonator]
    ] as const) {
      if (decoded.unattributed === true && filteredActor !== undefined) {
        return invalid("unattributed", "excludes every ", { field }, "; leave one of the two out")
      }
      if (filteredActor?.type === "anonymous" && filteredActor.id !== undefined) {
        return invalid(field, "an anonymous actor has no id")
      }
    }
    if (decoded.includeCaptureOnly === true && decoded.correlationId === undefined) {
      return invalid("includeCaptureOnly", "widens ", { field: "correlationId" }, ", which is not given")
    }
    if (decoded.includeCaptureOnly === true && (action !== undefined || decoded.actionStatus !== undefined)) {
      return invalid(
        "includeCaptureOnly",
        "asks for transactions without an action, which ",
        { field: "action" },
        " and ",
        { field: "actionStatus" },
        " leave out"
      )
    }
    // Instants have one text, which sorts as they do.
    if (from !== undefined && to !== undefined && to < from) {
      return invalid("to", "must not be before ", { field: "from" })
    }
    return Either.right(decoded)
  })

/** What the filters of a request add to its statement. */
export const partsOf = (filter: Filter, storage: Storage, tables: ReadonlyArray<Table>): ReadonlyArray<Part> =>
  filterNames.flatMap((field) => partOf(field, filter, storage, tables) ?? [])

/** The names of the filters, in the order of their text. */
const filterNames = Object.keys(filters) as ReadonlyArray<keyof Filters>

const partOf = (
  field: keyof Filters,
  filter: Filter,
  storage: Storage,
  tables: ReadonlyArray<Table>
): Part | undefined => {
  const value = filter[field]
  const part = filters[field].part as (
    value: unknown,
    storage: Storage,
    otherFields: Others,
    tables: ReadonlyArray<Table>
  ) => Part
  return value === undefined ? undefined : part(value, storage, filter, tables)
}

/** Conditions on the action `a`: those that use an index, and those for which each action must be looked at. */
export interface ActionConditions {
  readonly indexed: ReadonlyArray<Fragment>
  readonly tested: ReadonlyArray<Fragment>
}

/** Filters of actions with an index that is either selective or in the order of the listing. */
const indexedOfActions: ReadonlySet<keyof Filters> = new Set([
  "action",
  "correlationId",
  "transactionId",
  "from",
  "to"
] as const)

/** What the filters add to a read of actions. A filter that does not apply to actions is refused. */
export const actionConditions = (filter: Filter, storage: Storage): Either.Either<ActionConditions, InvalidRequest> => {
  const indexed: Array<Fragment> = []
  const tested: Array<Fragment> = []
  for (const field of filterNames) {
    const part = partOf(field, filter, storage, [])
    if (part === undefined) {
      continue
    }
    if (part.action === undefined) {
      return invalid(field, "does not apply to actions")
    }
    const isIndexed =
      indexedOfActions.has(field) ||
      (field === "actor" && filter.actor?.id !== undefined) ||
      (field === "actionStatus" && filter.actionStatus === "error")
    ;(isIndexed ? indexed : tested).push(part.action)
  }
  return filter.includeCaptureOnly === true
    ? invalid("includeCaptureOnly", "does not apply to actions")
    : Either.right({ indexed, tested })
}
