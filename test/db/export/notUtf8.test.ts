/** Exports of a database without an encoding: what is not UTF-8 is shown by its bytes, as reads show it. */
import { expect, layer } from "@effect/vitest"
import { parse as parseCsv } from "csv-parse/sync"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Capture from "../../../src/Capture.js"
import * as Export from "../../../src/Export.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { bytesOf, textOf } from "../../support/export.js"
import { layerIn } from "../../support/otherEncoding.js"
import * as Parquet from "../../support/parquet.js"

const database = Layer.mergeAll(Query.layer, Export.layer, Capture.layer).pipe(Layer.provideMerge(layerIn("SQL_ASCII")))

layer(database, { excludeTestServices: true, timeout: 300_000 })("exports of what is not UTF-8", (it) => {
  it.scoped("say the same as the timeline, and keep every number", () =>
    Effect.gen(function* () {
      const { rawClient } = yield* TestDatabase.TestDatabase
      const raw = yield* rawClient()
      const query = (text: string) => Effect.promise((): Promise<unknown> => raw.query(text))
      yield* query("create table names (name text primary key, note text, price numeric)")
      yield* Effect.flatMap(Capture.Capture, (capture) => capture.apply([{ table: "names" }]))
      yield* query(
        String.raw`insert into names values ('ü', 'fine, "so"', 1.10), (E'caf\xe9', E'a\nb\xff,"', 9007199254740993), (E'=\xe9', null, 2)`
      )
      yield* query(String.raw`delete from names where name = E'caf\xe9'`)
      const filter = { table: "names" }
      const page = yield* Query.timeline({ ...filter, order: "oldest" })
      const expected = page.items.map((change) => Json.unsafeParse(Json.stringify(change)))
      expect(expected).toHaveLength(4)
      const ndjson = yield* textOf({ format: "ndjson", filter })
      expect(ndjson.split("\n").slice(0, -1).map(Json.unsafeParse)).toEqual(expected)
      expect(ndjson).toContain("[not UTF-8: 636166e9]")
      expect(Json.unsafeParse(yield* textOf({ format: "json", filter }))).toMatchObject({ items: expected })
      const cellsOf = (csv: string): ReadonlyArray<Parquet.Cells> =>
        parseCsv(csv, { columns: true, record_delimiter: "\r\n" })
      for (const records of [
        cellsOf(yield* textOf({ format: "csv", filter })),
        cellsOf(yield* textOf({ format: "csv", filter, raw: true })),
        (yield* Effect.flatMap(bytesOf(Export.stream({ format: "parquet", filter })), Parquet.readBytes)).rows
      ]) {
        expect(records.map((cells) => cells["row_key"])).toEqual(page.items.map(({ rowKey }) => rowKey))
        expect(records.map((cells) => Json.unsafeParse(cells["data_after"] || "null"))).toEqual(
          page.items.map(({ dataAfter }) => Json.unsafeParse(Json.stringify(dataAfter ?? null)))
        )
      }
      const exportOfKey = yield* textOf({
        format: "csv",
        columns: ["op"],
        filter: { ...filter, key: "[not UTF-8: 636166e9]" }
      })
      expect(exportOfKey).toBe("op\r\ninsert\r\ndelete\r\n")
    })
  )
})
