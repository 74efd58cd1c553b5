/** Which tables are captured, what is wrong, and since when each can be asked about. */
import * as Effect from "effect/Effect"
import type { VNode } from "preact"
import type * as Continuity from "../../../Continuity.js"
import type * as Health from "../../../Health.js"
import { shortTable } from "../../core/words.js"
import { Tag, type Tone } from "../design/Badge.js"
import { Copy } from "../design/Copy.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { Notice } from "../design/Notice.js"
import { Table } from "../design/Table.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { page, type ScreenContext, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { ContinuityView } from "./continuity.js"
import { plural } from "./timeline.js"
import { notProvided, SeenBefore, underWay } from "./trouble.js"

const tones: Readonly<Record<Health.CoverageStatus, Tone>> = { covered: "good", uncovered: "bad", gap: "plain" }

export const severities: Readonly<Record<Health.Severity, Tone>> = { error: "bad", warning: "warn", info: "plain" }

/** The most rows to show in a table of these pages. */
export const most = 60

/** A finding that several objects share is shown once. */
interface Finding {
  readonly finding: Health.Finding
  readonly objects: ReadonlyArray<string>
}

/** The most objects of a finding to name. */
const mostObjects = 12

const groupsOf = (findings: ReadonlyArray<Health.Finding>): ReadonlyArray<Finding> => {
  const groups = new Map<string, { finding: Health.Finding; objects: Array<string> }>()
  for (const finding of findings) {
    const { code, fix, message, object, severity } = finding
    const like = JSON.stringify([severity, code, message, fix])
    const group = groups.get(like)
    if (group === undefined) {
      groups.set(like, { finding, objects: [object] })
    } else {
      group.objects.push(object)
    }
  }
  return [...groups.values()]
}

const FindingRow = ({ finding, objects }: Finding): VNode => (
  <tr>
    <td class="fit">
      <Tag tone={severities[finding.severity]}>{finding.severity}</Tag>
    </td>
    <td>
      {objects.slice(0, mostObjects).map((object) => (
        <div key={object}>
          <Text text={shortTable(object)} limit={130} />
        </div>
      ))}
      {objects.length > mostObjects ? (
        <div class="sub">and {plural(objects.length - mostObjects, "more", "more")}</div>
      ) : null}
    </td>
    <td>
      <Text text={finding.message} limit={400} />
      {finding.fix === null ? null : finding.mend?._tag === "host" ? (
        <div class="sub">
          <Text text={finding.fix} limit={400} />
        </div>
      ) : (
        <div class="sub">
          <code>
            <Text text={finding.fix} limit={400} />
          </code>
          <Copy text={finding.fix} name="what mends it" />
        </div>
      )}
    </td>
  </tr>
)

const CoverageRow = ({ coverage }: { readonly coverage: Health.Coverage }): VNode => {
  const { to } = useSite()
  const partitions = coverage.relations.filter(({ partition }) => partition)
  const uncovered = partitions.filter(({ status }) => status === "uncovered").length
  const open = coverage.lapses.find(({ until }) => until === null)
  return (
    <tr>
      <th scope="row">
        <a href={to.timeline({ table: coverage.table }, { since: "all" })}>
          <Text text={shortTable(coverage.table)} limit={130} />
        </a>
      </th>
      <td class="fit">
        <Tag tone={tones[coverage.status]}>{coverage.status}</Tag>
      </td>
      <td data-name="since">
        {coverage.since === null ? <span class="dim">never</span> : <Time at={coverage.since} form="minute" />}
      </td>
      <td>
        {coverage.reason === null ? null : (
          <>
            <Text text={coverage.reason} limit={200} />{" "}
          </>
        )}
        {coverage.exists ? null : <Tag tone="bad">no such table</Tag>}
        {uncovered === 0 ? null : `${uncovered} of ${plural(partitions.length, "partition")} uncovered. `}
        {open === undefined || open.since === null ? null : (
          <>
            nothing is known since <Time at={open.since} form="minute" />.{" "}
          </>
        )}
        {coverage.lapses.length === 0 ? null : <span class="sub">{plural(coverage.lapses.length, "lapse")}</span>}
        {coverage.keptSince === null || (coverage.since !== null && coverage.keptSince <= coverage.since) ? null : (
          <span class="sub">
            {coverage.lapses.length === 0 ? "" : ", "}kept since <Time at={coverage.keptSince} form="minute" />
          </span>
        )}
      </td>
    </tr>
  )
}

const CoverageView = ({
  isNew,
  readiness,
  report
}: {
  readonly isNew: boolean
  readonly report: Health.Report
  readonly readiness: ReadonlyArray<Continuity.Readiness> | null
}): VNode => {
  const { room } = useSite()
  const { findings, tables } = report
  // If the page is too large, it is rendered again with a smaller room.
  const shown = Math.min(most, room.fields * 3)
  const uncovered = tables.filter(({ status }) => status === "uncovered").length
  const groups = groupsOf(findings)
  const grave = findings.filter(({ severity }) => severity === "error").length
  return (
    <>
      <h1>Coverage</h1>
      <Facts>
        <b>
          {tables.length - uncovered} of {plural(tables.length, "table")}
        </b>{" "}
        captured or declared as a gap, {plural(findings.length, "finding")}
        {grave === 0 ? "" : `, ${grave} of them grave`}. Seen{" "}
        <b>
          <Time at={report.at} live zoned />
        </b>
        .
      </Facts>
      {isNew ? null : <SeenBefore at={report.at} />}
      {report.watch === null ? null : (
        <p class="sub">Schema watch: {typeof report.watch === "string" ? report.watch : "looked at"}</p>
      )}
      {findings.length === 0 ? (
        tables.length === 0 ? null : (
          <Notice>
            <b>Nothing was found that is wrong.</b>
          </Notice>
        )
      ) : (
        <section>
          <h2>Findings</h2>
          <Table caption="Findings, the graver ones first" columns={["Severity", "What", "Finding and what mends it"]}>
            <tbody>
              {groups.slice(0, shown).map((group, index) => (
                <FindingRow key={`${group.finding.code} ${index}`} {...group} />
              ))}
            </tbody>
          </Table>
          {groups.length > shown ? <p class="sub">and {groups.length - shown} more, all in the command below</p> : null}
          <p />
        </section>
      )}
      <section>
        <h2>Tables</h2>
        {tables.length === 0 ? (
          <Empty title="No table is captured">
            <p>
              <code>threadline capture apply</code> captures the tables of the configuration.
            </p>
          </Empty>
        ) : (
          <Table caption="Tables by name" columns={["Table", "Status", "Captured since", "Remarks"]}>
            <tbody>
              {[...tables]
                .sort((one, other) => Number(other.status === "uncovered") - Number(one.status === "uncovered"))
                .slice(0, shown)
                .map((coverage) => (
                  <CoverageRow key={coverage.table} coverage={coverage} />
                ))}
            </tbody>
          </Table>
        )}
        {tables.length > shown ? <p class="sub">and {tables.length - shown} more, all in the command below</p> : null}
      </section>
      <ContinuityView tables={readiness} />
    </>
  )
}

export const coverage = ({ now, reportOf, services }: ScreenContext): Screened =>
  services.health._tag === "None"
    ? Effect.succeed(notProvided("Health"))
    : Effect.map(reportOf(now), ({ isNew, newest }) => {
        if (newest === undefined) {
          return underWay()
        }
        const { health: report, readiness } = newest.value
        return page({
          title: "Coverage",
          place: "coverage",
          command: [
            { _tag: "Words", words: ["coverage"] },
            { _tag: "Words", words: ["health"] },
            ...(readiness?.length === 0 ? [] : [{ _tag: "Words", words: ["continuity", "check"] } as const])
          ],
          view: () => <CoverageView report={report} readiness={readiness} isNew={isNew} />
        })
      })
