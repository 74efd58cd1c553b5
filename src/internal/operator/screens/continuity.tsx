/** What can be asked about each captured table, and since when. A part of the coverage page. */
import type { VNode } from "preact"
import type * as Continuity from "../../../Continuity.js"
import { shortTable } from "../../core/words.js"
import { Tag, type Tone } from "../design/Badge.js"
import { Table } from "../design/Table.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { useSite } from "../site.js"
import { plural } from "./timeline.js"

const tones: Readonly<Record<Continuity.Baseline["state"], Tone>> = {
  running: "plain",
  done: "good",
  abandoned: "warn"
}

const Answered = ({ answer }: { readonly answer: Continuity.Answer | undefined }): VNode =>
  answer === undefined || (answer.from === null && answer.why === null) ? (
    <span class="dim">–</span>
  ) : answer.from === null ? (
    <span class="sub">not now: {answer.why}</span>
  ) : (
    <>
      since <Time at={answer.from} form="minute" />
    </>
  )

const BaselineOf = ({ baseline }: { readonly baseline: Continuity.Baseline | null }): VNode =>
  baseline === null ? (
    <span class="dim">none</span>
  ) : (
    <>
      <Tag tone={baseline.valid || baseline.state === "running" ? tones[baseline.state] : "warn"}>
        {baseline.state === "done" && !baseline.valid ? "counts no more" : baseline.state}
      </Tag>{" "}
      <span class="sub">
        {plural(baseline.recorded, "row")}
        {baseline.state === "running" ? `, ${baseline.blocksDone} of ${baseline.blocks} blocks` : ""}
      </span>
    </>
  )

const questions = ["changes", "changed rows", "unchanged rows"] as const

/** The most tables to list. */
const most = 40

/** The most lapses of a table to show, the latest ones. */
const mostLapses = 3

const Lapses = ({ lapses }: { readonly lapses: Continuity.Readiness["lapses"] }): VNode =>
  lapses.length === 0 ? (
    <span class="dim">none</span>
  ) : (
    <ul>
      {lapses.slice(-mostLapses).map(({ since, until }) => (
        <li key={`${since ?? ""} ${until ?? ""}`}>
          {since === null ? "the beginning" : <Time at={since} form="minute" />} to{" "}
          {until === null ? "now" : <Time at={until} form="minute" />}
        </li>
      ))}
      {lapses.length > mostLapses ? <li class="sub">and {lapses.length - mostLapses} before</li> : null}
    </ul>
  )

export const ContinuityView = ({
  tables
}: {
  /** Null if the role of the pages may not read it. */
  readonly tables: ReadonlyArray<Continuity.Readiness> | null
}): VNode | null => {
  const { room } = useSite()
  const shown = Math.min(most, room.fields * 2)
  if (tables === null) {
    return (
      <section>
        <h2>What can be asked</h2>
        <p class="sub">
          The role of the pages may not read the baselines of the record. <code>threadline grant --reader</code> lets
          it.
        </p>
      </section>
    )
  }
  return tables.length === 0 ? null : (
    <section>
      <h2>What can be asked</h2>
      <Table
        caption="What can be asked of each captured table"
        columns={["Table", "Changes", "Rows that changed", "Rows that never did", "Baseline", "Lapses"]}
      >
        <tbody>
          {tables.slice(0, shown).map(({ answers, baseline, lapses, table }) => (
            <tr key={table}>
              <th scope="row">
                <Text text={shortTable(table)} limit={130} />
              </th>
              {questions.map((question) => (
                <td key={question} data-name={question}>
                  <Answered answer={answers.find((answer) => answer.question === question)} />
                </td>
              ))}
              <td data-name="baseline">
                <BaselineOf baseline={baseline} />
              </td>
              <td data-name="lapses">
                <Lapses lapses={lapses} />
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
      {tables.length > shown ? (
        <p class="sub">
          and {tables.length - shown} more, all in <code>threadline continuity check</code>
        </p>
      ) : null}
    </section>
  )
}
