/** Evidence of how the record is governed: the overview, and the list of records. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { VNode } from "preact"
import * as Evidence from "../../../Evidence.js"
import { Tag, type Tone } from "../design/Badge.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { JsonView } from "../design/JsonView.js"
import { ActorName } from "../design/Names.js"
import { Pager } from "../design/Pager.js"
import { Table } from "../design/Table.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { nextCursor } from "../filterForm.js"
import { page, type ScreenContext, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { plural } from "./timeline.js"
import { notProvided } from "./trouble.js"

const tones: Readonly<Record<Evidence.Standing["verdict"], Tone>> = {
  ok: "good",
  attention: "warn",
  failed: "bad",
  unproven: "plain"
}

const spoken = (subject: Evidence.Subject): string => subject.replaceAll("_", " ")

const Said = ({ record }: { readonly record: Evidence.EvidenceRecord | null }): VNode =>
  record === null ? (
    <span class="dim">nothing</span>
  ) : (
    <>
      {record.status}, <Time at={record.recordedAt} form="minute" />
    </>
  )

const Overview = ({ standings }: { readonly standings: ReadonlyArray<Evidence.Standing> }): VNode => {
  const { to } = useSite()
  return (
    <Table caption="How the six subjects stand" columns={["Subject", "Verdict", "Found", "The host says", "Records"]}>
      <tbody>
        {standings.map(({ latestByHost, latestDerived, records, subject, verdict }) => (
          <tr key={subject}>
            <th scope="row">
              <a href={to.address("/evidence", { subject })}>{spoken(subject)}</a>
            </th>
            <td class="fit">
              <Tag tone={tones[verdict]}>{verdict}</Tag>
            </td>
            <td data-name="found">
              <Said record={latestDerived} />
            </td>
            <td data-name="the host says">
              <Said record={latestByHost} />
            </td>
            <td data-name="records">{records}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  )
}

const RecordRow = ({ record }: { readonly record: Evidence.EvidenceRecord }): VNode => (
  <tr>
    <td class="fit">
      <Time at={record.recordedAt} form="minute" live />
    </td>
    <th scope="row">
      {spoken(record.subject)}
      <div class="sub">
        of <Text text={record.reference} limit={80} />
      </div>
    </th>
    <td class="fit">
      <Tag tone={tones[record.status]}>{record.status}</Tag>
      <div class="sub">{record.origin === "derived" ? "found by Threadline" : "as the host says"}</div>
    </td>
    <td>
      {record.actor === null ? null : <ActorName actor={record.actor} />}
      <div class="sub">
        role <Text text={record.dbUser} limit={63} />
      </div>
    </td>
    <td>
      <details>
        <summary>Detail</summary>
        <JsonView value={record.detail} />
      </details>
    </td>
  </tr>
)

const View = ({
  cursor,
  next,
  records,
  standings,
  subject
}: {
  readonly standings: ReadonlyArray<Evidence.Standing>
  readonly records: ReadonlyArray<Evidence.EvidenceRecord>
  readonly subject: string | undefined
  readonly next: string | undefined
  readonly cursor: string | undefined
}): VNode => {
  const { to } = useSite()
  const proven = standings.filter(({ verdict }) => verdict === "ok").length
  const toLookAt = standings.filter(({ verdict }) => verdict === "failed" || verdict === "attention").length
  return (
    <>
      <h1>Evidence</h1>
      <Facts>
        <b>
          {proven} of {plural(standings.length, "subject")}
        </b>{" "}
        found to be in order, {toLookAt} to look at. A verdict is what Threadline found itself, never what a host said.
      </Facts>
      <Overview standings={standings} />
      <section>
        <h2>Records{subject === undefined ? "" : ` of ${subject.replaceAll("_", " ")}`}</h2>
        {subject === undefined ? null : (
          <p class="sub">
            <a href={to.address("/evidence")}>Records of every subject</a>
          </p>
        )}
        {records.length === 0 ? (
          <Empty title="No evidence is recorded">
            <p>
              <code>threadline evidence record SUBJECT --ref NAME --derive</code> looks and records what it finds.
            </p>
          </Empty>
        ) : (
          <>
            <Table
              caption="Records of evidence, newest first"
              columns={["Recorded", "Subject", "Status", "By", "What there is to say"]}
            >
              <tbody>
                {records.map((record) => (
                  <RecordRow key={record.id} record={record} />
                ))}
              </tbody>
            </Table>
            <Pager
              newer={cursor === undefined ? undefined : to.address("/evidence", { subject })}
              newerName="← Newest"
              older={next === undefined ? undefined : to.address("/evidence", { subject, cursor: next })}
            >
              {plural(records.length, "record")}
            </Pager>
          </>
        )}
      </section>
    </>
  )
}

/** Records per page. */
const usual = 25

export const evidence = (context: ScreenContext): Screened => ofSize(context, usual)

const ofSize = (context: ScreenContext, limit: number): Screened =>
  Option.match(context.services.evidence, {
    onNone: () => Effect.succeed(notProvided("Evidence")),
    onSome: (service) =>
      Effect.gen(function* () {
        const given = context.params.get("subject") ?? undefined
        const cursor = context.params.get("cursor") ?? undefined
        const subject = Evidence.subjects.find((one) => one === given)
        const [standings, records] = yield* Effect.all(
          [
            service.overview,
            // An unknown subject goes through, so that the service refuses it.
            service.list({ subject: subject ?? (given as Evidence.Subject | undefined), limit, cursor })
          ],
          { concurrency: "unbounded" }
        )
        return page({
          title: "Evidence",
          place: "evidence",
          command: {
            _tag: "Words",
            words: subject === undefined ? ["evidence", "overview"] : ["evidence", "list", "--subject", subject]
          },
          fewer: { items: records.items.length, of: (fewer) => ofSize(context, fewer) },
          view: () => (
            <View
              standings={standings}
              records={records.items}
              subject={subject}
              next={nextCursor(records)}
              cursor={cursor}
            />
          )
        })
      })
  })
