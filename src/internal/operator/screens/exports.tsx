/** Direct downloads of a filter, and export jobs. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { VNode } from "preact"
import type * as ExportJobs from "../../../ExportJobs.js"
import * as Query from "../../../Query.js"
import { type ExportKind, kindsOf, labelOf, labelOfRequest, optionsOf } from "../exportKinds.js"
import { ActionForm } from "../design/ActionForm.js"
import { Tag, type Tone } from "../design/Badge.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { ActorName } from "../design/Names.js"
import { Notice } from "../design/Notice.js"
import { Table } from "../design/Table.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { read } from "../filterForm.js"
import { write } from "../qualifiers.js"
import { answer, page, type ScreenContext, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { plural } from "./timeline.js"
import { jobsNeedNamedScope, notProvided } from "./trouble.js"

/** Streams the changes of a filter as a file. */
export const changes =
  (kind: ExportKind) =>
  (context: ScreenContext): Screened =>
    Option.match(context.services.exports, {
      onNone: () => Effect.succeed(notProvided("Export")),
      onSome: (service) =>
        Either.match(read(context.params, context.zone, context.now), {
          onLeft: (error) => Effect.fail(error),
          onRight: ({ filter }) => {
            const { cursor: _, limit: __, order: ___, ...whole } = filter
            const { actor, scopeName } = context.viewer
            return Effect.map(
              service.toWebResponse({
                ...optionsOf(kind),
                filter: whole,
                fileName: `changes.${kind}`,
                requestedBy: actor,
                ...(scopeName === undefined ? {} : { scopeName })
              }),
              answer
            )
          }
        })
    })

/**
 * The scope whose jobs a viewer may see. Without a scope they see all jobs. Undefined if their scope has no name: they
 * see none.
 */
export const jobScopeOf = ({ viewer }: Pick<ScreenContext, "viewer">): ExportJobs.ScopeOption | undefined =>
  viewer.namedScope === undefined ? (viewer.scope === undefined ? {} : undefined) : { scope: viewer.namedScope }

export const download =
  (id: string) =>
  (context: ScreenContext): Screened =>
    Option.match(context.services.jobs, {
      onNone: () => Effect.succeed(notProvided("ExportJobs")),
      onSome: (service) => {
        const scope = jobScopeOf(context)
        return scope === undefined
          ? Effect.succeed(jobsNeedNamedScope)
          : Effect.map(service.download(id, scope), ({ bytes, contentEncoding, contentType, fileName }) =>
              answer(
                new Response(Stream.toReadableStream(bytes), {
                  headers: {
                    "content-type": contentType,
                    "content-disposition": `attachment; filename="${fileName.replaceAll(/[^\w.-]/g, "_")}"`,
                    ...(contentEncoding === undefined ? {} : { "content-encoding": contentEncoding })
                  }
                })
              )
            )
      }
    })

const tones: Readonly<Record<ExportJobs.State, Tone>> = {
  queued: "plain",
  running: "plain",
  completed: "good",
  failed: "bad",
  cancelled: "warn",
  expired: "warn"
}

const filterText = (job: ExportJobs.Job): string =>
  Either.match(Query.filterFromInput(job.request.filter as Query.FilterInput), {
    onLeft: () => "a filter of another version",
    onRight: (filter) => write(filter)
  })

const Progress = ({ job }: { readonly job: ExportJobs.Job }): VNode => {
  const share =
    job.estimate === null || job.estimate === 0
      ? undefined
      : Math.min(99, Math.round((100 * job.records) / job.estimate))
  return (
    <>
      {job.state === "running" && share !== undefined ? `about ${share} %, ` : ""}
      {plural(job.records, "record")}
      {job.error === null ? null : (
        <div class="sub">
          <Text text={job.error.detail} limit={200} />
        </div>
      )}
    </>
  )
}

const JobRow = ({ job }: { readonly job: ExportJobs.Job }): VNode => {
  const { to } = useSite()
  return (
    <tr id={`job-${job.id}`}>
      <td class="fit">
        <Time at={job.requestedAt} form="minute" live />
      </td>
      <th scope="row">
        {labelOfRequest(job.request)}{" "}
        <a class="sub" href={`#job-${job.id}`}>
          {job.id}
        </a>
        <div class="sub">
          <Text text={filterText(job)} limit={160} />
        </div>
      </th>
      <td>
        <Tag tone={tones[job.state]}>{job.state}</Tag>{" "}
        {job.state === "completed" && job.expiresAt !== null ? (
          <span class="sub">
            until <Time at={job.expiresAt} form="minute" />
          </span>
        ) : null}
      </td>
      <td>
        <Progress job={job} />
      </td>
      <td>{job.requestedBy === null ? <span class="dim">nobody</span> : <ActorName actor={job.requestedBy} />}</td>
      <td>
        {job.state === "completed" ? <a href={to.download(job.id)}>Download</a> : null}
        {job.state === "queued" || job.state === "running" ? (
          <ActionForm act="exports/cancel" fields={{ id: job.id }}>
            <button class="bare">Cancel</button>
          </ActionForm>
        ) : null}
        {job.state === "failed" || job.state === "cancelled" ? (
          <ActionForm act="exports/retry" fields={{ id: job.id }}>
            <button class="bare">Try again</button>
          </ActionForm>
        ) : null}
      </td>
    </tr>
  )
}

/** The most jobs to show on the start page. */
const mostShown = 4

/** The newest jobs for the start page. Undefined if the viewer may not see jobs, or if reading them takes too long. */
export const latestJobs = (context: ScreenContext): Effect.Effect<ReadonlyArray<ExportJobs.Job> | undefined> => {
  const { patience, services, viewer } = context
  const scope = jobScopeOf(context)
  return services.jobs._tag === "None" || scope === undefined || !viewer.may("export")
    ? Effect.succeed(undefined)
    : services.jobs.value.list({ ...scope, limit: mostShown }).pipe(
        Effect.timeout(patience("views")),
        Effect.option,
        Effect.map((found) => (found._tag === "None" ? undefined : found.value.items))
      )
}

export const JobList = ({ jobs }: { readonly jobs: ReadonlyArray<ExportJobs.Job> | undefined }): VNode | null => {
  const { to } = useSite()
  return jobs === undefined ? null : (
    <section>
      <h2>Exports</h2>
      {jobs.length === 0 ? (
        <p class="sub">
          None yet. <a href={to.address("/exports")}>Queue one</a>, or download a list from the{" "}
          <a href={to.timeline()}>timeline</a>.
        </p>
      ) : (
        <>
          <ul class="list">
            {jobs.map((job) => (
              <li key={job.id}>
                <div class="what">
                  {job.state === "completed" ? (
                    <a href={to.download(job.id)}>{labelOfRequest(job.request)}</a>
                  ) : (
                    <a href={`${to.address("/exports")}#job-${job.id}`}>{labelOfRequest(job.request)}</a>
                  )}{" "}
                  <span class="sub">
                    <Text text={filterText(job)} limit={100} />
                  </span>
                </div>
                <span class="end">
                  {job.state === "completed" ? (
                    plural(job.records, "record")
                  ) : (
                    <Tag tone={tones[job.state]}>{job.state}</Tag>
                  )}
                  {job.state === "completed" && job.expiresAt !== null ? (
                    <>
                      {" · until "}
                      <Time at={job.expiresAt} form="minute" />
                    </>
                  ) : null}
                </span>
              </li>
            ))}
          </ul>
          <p class="sub">
            <a href={to.address("/exports")}>All exports</a>
          </p>
        </>
      )}
    </section>
  )
}

const View = ({
  filter,
  jobs,
  more
}: {
  /** The filter of the list that led here. The form begins with it. */
  readonly filter: string
  readonly jobs: ReadonlyArray<ExportJobs.Job> | undefined
  readonly more: boolean
}): VNode => {
  const { offers, to } = useSite()
  const running = (jobs ?? []).filter(({ state }) => state === "running" || state === "queued").length
  return (
    <>
      <h1>Exports</h1>
      <Facts>
        {jobs === undefined ? (
          "Jobs are kept by the name of a scope, and yours has none."
        ) : (
          <>
            <b>
              {more ? "More than " : ""}
              {plural(jobs.length, "job")}
            </b>
            , {running} under way.
          </>
        )}{" "}
        A list can be exported at once from the <a href={to.timeline()}>timeline</a>.
      </Facts>
      {jobs === undefined ? (
        <Notice>
          <span>Export the filter of a timeline directly; that is read under your scope.</span>
        </Notice>
      ) : jobs.length === 0 ? (
        <Empty title="No export was queued">
          <p>Large exports are made by a worker. Queue one below.</p>
        </Empty>
      ) : (
        <Table caption="Jobs, newest first" columns={["Requested", "What", "State", "Progress", "By", "Do"]}>
          <tbody>
            {jobs.map((job) => (
              <JobRow key={job.id} job={job} />
            ))}
          </tbody>
        </Table>
      )}
      {jobs === undefined ? null : (
        <section>
          <h2 class="gap">Queue an export</h2>
          <ActionForm act="exports/queue">
            <label>
              Filter, as in the search box
              <input
                name="filter"
                value={filter}
                placeholder="table:invoices after:2026-11-01"
                size={44}
                autocomplete="off"
                spellcheck={false}
              />
            </label>
            <label>
              Format
              <select name="format">
                {kindsOf(offers.formats).map((kind) => (
                  <option key={kind} value={kind}>
                    {labelOf(kind)}
                  </option>
                ))}
              </select>
            </label>
            <button class="go">Queue</button>
          </ActionForm>
        </section>
      )}
    </>
  )
}

export const exportJobs = (context: ScreenContext): Screened =>
  Option.match(context.services.jobs, {
    onNone: () => Effect.succeed(notProvided("ExportJobs")),
    onSome: (service) =>
      Effect.gen(function* () {
        const scope = jobScopeOf(context)
        const listed = scope === undefined ? undefined : yield* service.list({ ...scope, limit: 30 })
        return page({
          title: "Exports",
          place: "exports",
          command: { _tag: "Words", words: ["export", "jobs"] },
          view: () => (
            <View filter={context.params.get("filter") ?? ""} jobs={listed?.items} more={listed?.hasMore ?? false} />
          )
        })
      })
  })
