import { describe, expect, it } from "@effect/vitest"
import { Readable } from "node:stream"
import * as FastCheck from "effect/FastCheck"
import { linesOf } from "../../../src/internal/export/lines.js"
import { runs, seed } from "../../support/runs.js"

/** What is longer than two pieces. */
const long = "long ".repeat(60_000)

const cells = FastCheck.array(FastCheck.constantFrom("", "a", '"', "\n", "\r\n", ",", '"\n"', "é\n", long), {
  maxLength: 4
}).map((parts) => parts.join(""))

const quoted = (cell: string): string => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)

const tables = FastCheck.array(FastCheck.array(cells, { minLength: 1, maxLength: 3 }), { maxLength: 5 })

const cut = (bytes: Buffer, cuts: ReadonlyArray<number>): ReadonlyArray<Buffer> => {
  const places = [0, ...cuts.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return places.map((place, index) => bytes.subarray(place, places[index + 1] ?? place))
}

const read = async (isCsv: boolean, areLent: boolean, given: ReadonlyArray<Buffer>) => {
  const lines = linesOf(isCsv, areLent)
  const pieces: Array<Buffer> = []
  for await (const piece of lines.of(Readable.from(given))) {
    // A piece that is lent is read before the next one is asked for.
    pieces.push(areLent ? Buffer.from(piece) : piece)
  }
  return { text: Buffer.concat(pieces).toString(), records: lines.records }
}

describe("lines", () => {
  it("are the same, wherever the bytes of COPY are cut, and whether pieces are lent or given", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(
        tables,
        FastCheck.array(FastCheck.nat(1_000_000), { maxLength: 8 }),
        FastCheck.boolean(),
        async (table, cuts, areLent) => {
          const rows = table.map((row) => row.map(quoted).join(","))
          const bytes = Buffer.from(rows.map((row) => `${row}\n`).join(""))
          expect(await read(true, areLent, cut(bytes, cuts))).toEqual({
            text: rows.map((row) => `${row}\r\n`).join(""),
            records: rows.length
          })
          expect(await read(false, areLent, cut(bytes, cuts))).toEqual({
            text: bytes.toString(),
            records: bytes.filter((byte) => byte === 0x0a).length
          })
        }
      ),
      { numRuns: runs(60), seed }
    ))
})
