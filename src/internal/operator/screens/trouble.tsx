/**
 * Error pages: what went wrong, and what to do. They never reveal whether something exists that the viewer may not see.
 * They never show messages of the database or the code: the host's log has those under the reference.
 */
import type { ComponentChildren, VNode } from "preact"
import type { ExportError } from "../../../Export.js"
import type { SavedViewError } from "../../../SavedViews.js"
import type { InvalidRequest, NotFound } from "../../../ThreadlineError.js"
import { didYouMean, many } from "../../core/words.js"
import { hostLink } from "../address.js"
import { Copy } from "../design/Copy.js"
import { Notice } from "../design/Notice.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { type Page, page } from "../screen.js"
import { useSite } from "../site.js"

const Trouble = ({ children, title }: { readonly title: string; readonly children: ComponentChildren }): VNode => (
  <>
    <h1>{title}</h1>
    {children}
  </>
)

const trouble = (status: number, title: string, children: ComponentChildren): Page =>
  page({ status, title, place: "none", view: () => <Trouble title={title}>{children}</Trouble> })

const Reference = ({ reference }: { readonly reference: string }): VNode => (
  <p>
    The log of the application has more under the reference <code>{reference}</code>
    <Copy text={reference} name="the reference" />
  </p>
)

const Start = (): VNode => {
  const { to } = useSite()
  return (
    <p>
      <a href={to.home()}>Start page</a> · <a href={to.timeline()}>Timeline</a>
    </p>
  )
}

export const denied = (status: 401 | 403, signIn: string | undefined): Page => {
  const href = signIn === undefined ? undefined : hostLink(signIn)
  return trouble(
    status,
    status === 401 ? "Sign in first" : "No access",
    <>
      <p class="facts">
        {status === 401
          ? "This part of the application shows who changed what. It is only for those who are signed in."
          : "Your account may not see this part of the application. Its operators can give you access."}
      </p>
      {href === undefined ? null : (
        <p>
          <a class="go" href={href}>
            Sign in
          </a>
        </p>
      )}
    </>
  )
}

export const noCapability = (capability: string): Page =>
  trouble(
    403,
    "No access to this page",
    <>
      <p class="facts">
        You may read the audit log. For this page you also need the capability <b>{capability}</b>. The operators of the
        application can grant it.
      </p>
      <Start />
    </>
  )

export const unknownPath: Page = trouble(
  404,
  "There is no such page",
  <>
    <p class="facts">The address names no page of the audit log. It may have been cut off when it was copied.</p>
    <Start />
  </>
)

export const malformedPath: Page = trouble(
  400,
  "This address cannot be read",
  <>
    <p class="facts">
      A part of the address is missing or is not well formed. It may have been cut off when it was copied.
    </p>
    <Start />
  </>
)

export const tooLong: Page = trouble(
  414,
  "This address is too long",
  <>
    <p class="facts">The filter is larger than an address may be. Ask for fewer things at once.</p>
    <Start />
  </>
)

export const formTooLarge: Page = trouble(
  413,
  "This form is too large",
  <>
    <p class="facts">Nothing was changed. Send less at once, such as a shorter filter.</p>
    <Start />
  </>
)

export const wrongMethod = (allow: string): Page => ({
  ...trouble(
    405,
    "This address does not take that",
    <>
      <p class="facts">Pages are only read here. What can be changed has a form on a page.</p>
      <Start />
    </>
  ),
  allow
})

const subjects: Readonly<Record<NotFound["subject"], string>> = {
  table: "table",
  column: "column",
  row: "row",
  transaction: "transaction",
  change: "change",
  action: "action",
  export: "export",
  schedule: "schedule",
  view: "saved view",
  run: "run of retention"
}

/** The name that was probably meant. A table is a link to its changes. */
const Suggestion = ({ error: { subject, suggestion } }: { readonly error: NotFound }): VNode | null => {
  const { to } = useSite()
  const name = suggestion === undefined ? null : <Text text={suggestion} limit={200} />
  return suggestion === undefined ? null : (
    <>
      {" "}
      Did you mean{" "}
      <b>{subject === "table" ? <a href={to.timeline({ table: suggestion }, { since: "all" })}>{name}</a> : name}</b>?
    </>
  )
}

export const notFound = (error: NotFound): Page =>
  trouble(
    404,
    `No such ${subjects[error.subject]}`,
    <>
      <p class="facts">
        The record has no {subjects[error.subject]}{" "}
        <b>
          <Text text={error.id} limit={200} />
        </b>{" "}
        that you may see. It may never have existed, it may be out of your scope, or retention may have removed it.
        <Suggestion error={error} />
      </p>
      <Start />
    </>
  )

export const invalid = (error: InvalidRequest): Page =>
  trouble(
    400,
    "This question cannot be asked",
    <>
      <p class="facts">
        <b>
          <Text text={error.field} limit={100} />
        </b>{" "}
        <Text text={error.rule} limit={400} />
        {error.suggestion === undefined ? "." : null}
        {error.suggestion === undefined ? null : (
          <>
            ; {didYouMean} <Text text={error.suggestion} limit={100} />?
          </>
        )}
      </p>
      <Start />
    </>
  )

export const tooSlow = (reference: string, seconds: number): Page =>
  trouble(
    504,
    "This took too long",
    <>
      <p class="facts">
        The answer needed more than {many(seconds, "second")}, and the database was told to stop. If the page has a
        filter, ask for less time, or for one table, row or actor. Otherwise try again in a moment.
      </p>
      <Reference reference={reference} />
      <Start />
    </>
  )

/** Says that the page shows an earlier answer while a new one is being read. */
export const SeenBefore = ({ at }: { readonly at: string }): VNode => (
  <Notice tone="warn">
    <b>
      This is what was seen at <Time at={at} zoned live />.
    </b>
    <span>To look again takes longer than a page may. It is under way: load the page again in a moment.</span>
  </Notice>
)

/** The page while a first answer is still being read. A later page finds it. */
export const underWay = (): Page =>
  trouble(
    503,
    "This takes longer than a page may",
    <>
      <p class="facts">
        There is much to look at. Threadline goes on with it: load this page again in a moment, and it will be there.
        The command line has no such limit.
      </p>
      <Again />
    </>
  )

const Again = (): VNode => {
  const { here } = useSite()
  return (
    <p>
      <a class="go" href={here}>
        Load again
      </a>
    </p>
  )
}

export const unreachable = (reference: string): Page =>
  trouble(
    503,
    "The database cannot be reached",
    <>
      <p class="facts">Nothing of the record is lost. Try again in a moment.</p>
      <Reference reference={reference} />
    </>
  )

export const notReady = (reference: string): Page =>
  trouble(
    503,
    "The record cannot be used here",
    <>
      <p class="facts">
        The schema of Threadline is not installed as this version needs it, the role of the pages lacks a right, or the
        database is a replica, which takes no writes. The operators of the application can put that right. The log says
        how.
      </p>
      <Reference reference={reference} />
    </>
  )

export const failed = (reference: string): Page =>
  trouble(
    500,
    "This page failed",
    <>
      <p class="facts">Nothing was changed by looking. The fault is on our side, not in what you asked.</p>
      <Reference reference={reference} />
      <Start />
    </>
  )

export const forged = trouble(
  403,
  "This form was not sent from here",
  <>
    <p class="facts">Nothing was changed. Go back, load the page again, and send the form from there.</p>
    <Start />
  </>
)

export const notProvided = (service: string): Page =>
  trouble(
    404,
    "This page is not provided here",
    <>
      <p class="facts">
        The application mounts the audit pages without the service <code>{service}</code>, which this page reads.
      </p>
      <Start />
    </>
  )

export const jobsNeedNamedScope: Page = trouble(
  403,
  "Exports of others are not for your scope",
  <>
    <p class="facts">
      Jobs are kept by the name of a scope, and yours has none. Export the filter of a timeline directly.
    </p>
    <Start />
  </>
)

const exportTroubles: { readonly [R in ExportError["reason"]]?: readonly [status: number, sentence: string] } = {
  TooManyJobs: [429, "As many exports of yours are waiting as the application allows. Wait for one, or cancel one."],
  WrongState: [409, "The export is in another state by now. Load the list again."],
  Expired: [410, "The file of this export was removed, because its time was over. Queue it again."],
  ScopeRefused: [403, "The application does not grant the scope of this export any more."],
  NotInstalled: [501, "The application lacks the package that writes files of this kind. Choose another kind."],
  NoStore: [503, "The application has no place for the files of exports."],
  StoreFailed: [503, "The place of the files cannot be reached now."]
}

export const exportTrouble = (reason: ExportError["reason"], reference: string): Page => {
  const [status, sentence] = exportTroubles[reason] ?? [500, "The export failed."]
  return trouble(
    status,
    "This export is not to be had",
    <>
      <p class="facts">{sentence}</p>
      <Reference reference={reference} />
      <Start />
    </>
  )
}

export const noConfirmation: Page = trouble(
  400,
  "Nothing was removed",
  <>
    <p class="facts">
      The run was not confirmed: type <code>purge</code> into the field.
    </p>
    <Start />
  </>
)

export const nobodysViews: Page = trouble(
  403,
  "Views need a name of their owner",
  <>
    <p class="facts">Saved views are kept for viewers that the application tells apart. It does not say who you are.</p>
    <Start />
  </>
)

export const viewTrouble = (reason: SavedViewError["reason"]): Page =>
  trouble(
    409,
    "The view is not saved",
    <>
      <p class="facts">
        {reason === "NameTaken"
          ? "You have a view of that name. Go back and choose another name, or ask to replace it."
          : "You have as many views as one can have. Delete one on the start page first."}
      </p>
      <Start />
    </>
  )
