import { describe, expect, it } from "@effect/vitest"
import { parse } from "csv-parse/sync"
import * as FastCheck from "effect/FastCheck"
import { Readable } from "node:stream"
import { cellValue, type Column, mayBeFormula } from "../../../src/internal/export/columns.js"
import { type Body, csvLines, jsonLines } from "../../../src/internal/export/lines.js"
import type { Handing } from "../../../src/internal/export/pieces.js"
import { end, head, tupleOf } from "../../../src/internal/export/tuples.js"
import { runs, seed } from "../../support/runs.js"

/** What is longer than two pieces. */
const long = "long ".repeat(60_000)

const parts = FastCheck.constantFrom(
  "",
  "a",
  '"',
  "\n",
  "\r\n",
  ",",
  '"\n"',
  "é\n",
  "=1",
  "'",
  "-",
  "\\.",
  '"'.repeat(40_000),
  long
)

const cells = FastCheck.option(FastCheck.array(parts, { maxLength: 4 }).map((some) => some.join("")))

const columns: ReadonlyArray<Column> = ["id", "row_key", "table_name"]

const tables = FastCheck.integer({ min: 1, max: 3 }).chain((width) =>
  FastCheck.array(FastCheck.array(cells, { minLength: width, maxLength: width }), { maxLength: 5 }).map((rows) => ({
    names: columns.slice(0, width),
    rows
  }))
)

const cut = (bytes: Buffer, cuts: ReadonlyArray<number>): ReadonlyArray<Buffer> => {
  const places = [0, ...cuts.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return places.map((place, index) => bytes.subarray(place, places[index + 1] ?? place))
}

const cuts = FastCheck.array(FastCheck.nat(1_000_000), { maxLength: 8 })

const copied = (rows: ReadonlyArray<ReadonlyArray<string | null>>): Buffer =>
  Buffer.concat([head, ...rows.map(tupleOf), end])

const handings = FastCheck.constantFrom<Handing>("given", "lent")

const read = async (body: Body, handing: Handing) => {
  const pieces: Array<Buffer> = []
  for await (const piece of body) {
    // A piece that is lent is read before the next one is asked for.
    pieces.push(handing === "lent" ? Buffer.from(piece) : piece)
  }
  return { text: Buffer.concat(pieces).toString(), records: body.records }
}

/** As COPY writes a cell of a CSV. */
const quoted = (cell: string | null): string =>
  cell === null ? "" : cell === "" || cell === "\\." || /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell

const guarded = (name: Column, cell: string | null): string | null =>
  cell !== null && mayBeFormula(name) && /^[\t\r'+\-=@]/.test(cell) ? `'${cell}` : cell

describe("lines of a CSV", () => {
  it("are the cells of COPY between commas, wherever its bytes are cut, and whether pieces are lent or given", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(
        tables,
        cuts,
        handings,
        FastCheck.boolean(),
        async ({ names, rows }, places, handing, raw) => {
          const source = Readable.from(cut(copied(rows), places))
          const { records, text } = await read(
            csvLines(source, handing, { columns: names, raw, anyBytes: false }),
            handing
          )
          const expected = rows.map((row) =>
            row.map((cell, index) => quoted(raw ? cell : guarded(names[index] ?? "id", cell))).join(",")
          )
          expect(text).toBe([names.join(","), ...expected].map((line) => `${line}\r\n`).join(""))
          expect(records).toBe(rows.length)
        }
      ),
      { numRuns: runs(60), seed }
    ))

  it("give every cell back to a parser of others", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(tables, cuts, async ({ names, rows }, places) => {
        const source = Readable.from(cut(copied(rows), places))
        const { text } = await read(csvLines(source, "given", { columns: names, raw: false, anyBytes: false }), "given")
        const parsed: ReadonlyArray<ReadonlyArray<string>> = parse(text, {
          record_delimiter: "\r\n",
          // A row of one null cell is an empty line.
          skip_empty_lines: false,
          relax_column_count: true
        })
        expect(
          parsed
            .slice(1)
            .map((row) => row.map((cell, index) => (mayBeFormula(names[index] ?? "id") ? cellValue(cell) : cell)))
        ).toEqual(rows.map((row) => row.map((cell) => cell ?? "")))
      }),
      { numRuns: runs(40), seed }
    ))

  it("are refused if COPY breaks off", async () => {
    const bytes = copied([["1", null]])
    const body = (length: number) =>
      csvLines(Readable.from([bytes.subarray(0, length)]), "given", {
        columns: ["id", "row_key"],
        raw: true,
        anyBytes: false
      })
    for (const length of [0, head.length, bytes.length - 1]) {
      await expect(read(body(length), "given")).rejects.toThrow("broke off")
    }
    expect((await read(body(bytes.length), "given")).text).toBe("id,row_key\r\n1,\r\n")
  })
})

describe("lines of JSON", () => {
  it("are the cells of COPY as they are", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.array(FastCheck.constantFrom('{"a":"b"}\n', `{"a":"${long}"}\n`), { maxLength: 6 }),
        cuts,
        handings,
        FastCheck.boolean(),
        async (records, places, handing, anyBytes) => {
          const source = Readable.from(cut(copied(records.map((record) => [record])), places))
          expect(await read(jsonLines(source, handing, { anyBytes }), handing)).toEqual({
            text: records.join(""),
            records: records.length
          })
        }
      ),
      { numRuns: runs(60), seed }
    ))
})
