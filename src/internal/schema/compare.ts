import * as Schema from "effect/Schema"
import type { MigrationFile } from "./bookkeeping.js"
import type { Applied, Status } from "./model.js"

/** A row of the bookkeeping as the database gives it. */
export const AppliedRow = Schema.Struct({
  id: Schema.Number,
  name: Schema.String,
  checksum: Schema.String,
  applied_at: Schema.String,
  applied_by: Schema.String
})

export interface Comparison {
  readonly state: Status["state"]
  readonly version: number
  readonly applied: ReadonlyArray<Applied>
  readonly pending: ReadonlyArray<MigrationFile>
  readonly mismatched: ReadonlyArray<Applied>
  readonly unknown: ReadonlyArray<Applied>
}

/**
 * Compares the applied migrations with those of this library, id by id. A missing id is pending, even if higher ids are applied.
 * A restore may repeat rows; all rows of an id must agree.
 */
export const compare = (
  files: ReadonlyArray<MigrationFile>,
  rows: ReadonlyArray<typeof AppliedRow.Type>
): Comparison => {
  const filesById = new Map(files.map((file) => [file.id, file]))
  const applied = new Map<number, Applied>()
  const mismatched = new Map<number, Applied>()
  for (const row of rows) {
    const entry: Applied = {
      id: row.id,
      name: row.name,
      checksum: row.checksum,
      appliedAt: row.applied_at,
      appliedBy: row.applied_by
    }
    if (!applied.has(row.id)) {
      applied.set(row.id, entry)
    }
    const file = filesById.get(row.id)
    if (file !== undefined && file.checksum !== row.checksum) {
      mismatched.set(row.id, entry)
    }
  }
  const appliedMigrations = [...applied.values()]
  const pending = files.filter((file) => !applied.has(file.id))
  const unknown = appliedMigrations.filter((entry) => !filesById.has(entry.id))
  return {
    state:
      unknown.length > 0
        ? "newer"
        : mismatched.size > 0
          ? "mismatch"
          : appliedMigrations.length === 0
            ? "absent"
            : pending.length > 0
              ? "behind"
              : "current",
    version: Math.max(0, ...applied.keys()),
    applied: appliedMigrations,
    pending,
    mismatched: [...mismatched.values()],
    unknown
  }
}
