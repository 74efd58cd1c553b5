/**
 * How tables are covered, and what that is computed from, under one snapshot.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { readCatalog } from "../capture/catalog.js"
import type { Catalog } from "../capture/catalogModel.js"
import type { Failure } from "../capture/failure.js"
import type { TableStatus } from "../capture/finding.js"
import { tableStatuses } from "../capture/status.js"
import { coverageOf } from "./coverage.js"
import type { Coverage } from "./model.js"
import { type Options, readingWith, type Request } from "./options.js"
import * as record from "./record.js"

export interface Covered {
  readonly catalog: Catalog
  readonly statuses: ReadonlyArray<TableStatus>
  readonly times: ReadonlyArray<record.Times>
  readonly coverage: ReadonlyArray<Coverage>
}

/** Which tables: those that are captured, configured, expected or declared as gaps, or all of them. */
type Which = "known" | "all"

/** Reads the coverage inside a snapshot. The role must be able to read the policies. */
export const readCovered = Effect.fnUntraced(function* (
  sql: SqlClient,
  storage: string,
  { configured, expected, gaps }: Request,
  which: Which
) {
  const named = [...(configured ?? []), ...(expected ?? []), ...gaps]
  const catalog = yield* readCatalog(sql, storage, named, "everything")
  const statuses = tableStatuses(storage, catalog, configured)
  const times = yield* record.readTimes(sql, storage, catalog.gaps)
  const hostTables = which === "all" ? yield* record.readHostTables(sql, storage) : []
  const coverage = coverageOf({
    catalog,
    statuses,
    times,
    configured: configured ?? [],
    expected,
    gaps,
    hostTables
  })
  return { catalog, statuses, times, coverage } satisfies Covered
})

export const readCoverage = (
  sql: SqlClient,
  storage: string,
  options: Options,
  which: Which
): Effect.Effect<ReadonlyArray<Coverage>, Failure> =>
  readingWith(sql, options, (request) =>
    Effect.map(readCovered(sql, storage, request, which), ({ coverage }) => coverage)
  )
