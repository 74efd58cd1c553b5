/**
 * The one script of the pages. They work without it. It adds copying, keyboard shortcuts, relative times, dragging on
 * the rail of a row, and following a timeline. It never makes HTML from strings.
 */
export const script = `(()=>{"use strict";
const d=document,all=(s)=>[...d.querySelectorAll(s)],one=(s)=>d.querySelector(s);
const store=(k,v)=>{try{return v===undefined?localStorage.getItem(k):localStorage.setItem(k,v)}catch{return null}};
const wake=()=>{for(const b of all("[data-copy]")){b.hidden=false}ago()};
const ago=()=>{const now=Date.now();for(const t of all("time[data-live]")){
const s=Math.round((now-Date.parse(t.dateTime))/1000);if(!(s>=0&&s<604800))continue;
const text=s<60?s+" s ago":s<3600?Math.floor(s/60)+" min ago":s<86400?Math.floor(s/3600)+" h ago":Math.floor(s/86400)+" d ago";
let n=t.nextElementSibling;if(!n||n.className!=="ago"){n=d.createElement("span");n.className="ago";t.after(n)}
n.textContent=text}};
d.addEventListener("click",async(e)=>{const b=e.target.closest&&e.target.closest("[data-copy]");if(!b)return;
const text=b.dataset.copy;let done=false;try{await navigator.clipboard.writeText(text);done=true}catch{
const a=d.createElement("textarea");a.value=text;a.className="hide";d.body.append(a);a.select();done=d.execCommand("copy");a.remove();b.focus()}
b.textContent=done?"copied":"not copied";setTimeout(()=>{b.textContent="copy"},1500)});
const keys=one("[data-keys]");let on=store("threadline-keys")!=="off";
const say=()=>{if(keys){keys.textContent="Shortcuts "+(on?"on":"off");keys.title="/ search, j and k rows, n and p pages, Enter opens";keys.setAttribute("aria-pressed",String(on))}};
if(keys){keys.hidden=false;say();keys.addEventListener("click",()=>{on=!on;store("threadline-keys",on?"on":"off");say()})}
const rows=()=>all("#results tbody tr,.change");
d.addEventListener("keydown",(e)=>{
const rail=e.target.closest&&e.target.closest("[data-rail] ol");
if(rail&&(e.key==="ArrowLeft"||e.key==="ArrowRight"||e.key==="Home"||e.key==="End")){
const marks=[...rail.querySelectorAll("a")],at=marks.indexOf(e.target);
const next=e.key==="Home"?0:e.key==="End"?marks.length-1:at+(e.key==="ArrowRight"?1:-1);
if(marks[next]){e.preventDefault();marks[next].focus()}return}
if(!on||e.ctrlKey||e.metaKey||e.altKey||/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName))return;
if(e.key==="/"){const q=one("#q");if(q){e.preventDefault();q.focus();q.select()}}
else if(e.key==="j"||e.key==="k"){const list=rows(),at=list.findIndex((r)=>r.contains(d.activeElement));
const to=list[Math.max(0,Math.min(list.length-1,at===-1?0:at+(e.key==="j"?1:-1)))],a=to&&to.querySelector("a");if(a){e.preventDefault();a.focus()}}
else if(e.key==="n"||e.key==="p"){const a=one(e.key==="n"?"a[rel=next]":"a[rel=prev]");if(a)a.click()}});
const list=one("[data-rail] ol");
if(list){const marks=[...list.querySelectorAll("a")];let held=false,near=null;
const nearest=(x)=>{let best=null,least=Infinity;for(const m of marks){const r=m.getBoundingClientRect(),g=Math.abs(r.left+r.width/2-x);if(g<least){least=g;best=m}}return best};
const choose=(x)=>{const m=nearest(x);if(m!==near){if(near)near.parentElement.classList.remove("here");near=m;if(m)m.parentElement.classList.add("here")}};
list.addEventListener("pointerdown",(e)=>{if(e.button!==0)return;held=true;near=one("[data-rail] li.here a");list.parentElement.classList.add("drag");list.setPointerCapture(e.pointerId);e.preventDefault()});
list.addEventListener("pointermove",(e)=>{if(held)choose(e.clientX)});
list.addEventListener("pointerup",(e)=>{if(!held)return;held=false;list.parentElement.classList.remove("drag");choose(e.clientX);if(near)location.href=near.href});
list.addEventListener("pointercancel",()=>{held=false;list.parentElement.classList.remove("drag")})}
const zone=one("[data-zone]");
if(zone){try{const own=Intl.DateTimeFormat().resolvedOptions().timeZone,zones=one("#zones");
if(own&&zones&&![...zones.children].some((o)=>o.value===own)){const o=d.createElement("option");o.value=own;zones.prepend(o)}
if(own&&own!==zone.value){const b=d.createElement("button");b.type="button";b.className="bare";b.textContent=own;
b.addEventListener("click",()=>{zone.value=own;zone.form.submit()});zone.form.append(b)}}catch{}}
const live=one("[data-follow]");
if(live){const told=one("#followed"),source=new EventSource(live.dataset.follow);let busy=false,again=false,newest="";
const refresh=async()=>{if(busy){again=true;return}busy=true;
try{const answer=await fetch(location.href,{headers:{accept:"text/html"}});
if(answer.ok){const page=new DOMParser().parseFromString(await answer.text(),"text/html");
for(const s of["#results",".facts",".pager"]){const was=one(s),is=page.querySelector(s);if(was&&is)was.replaceWith(d.adoptNode(is))}
wake()}}finally{busy=false;if(again){again=false;refresh()}}};
source.addEventListener("changes",(e)=>{newest=e.data;if(told)told.textContent="Followed "+newest;refresh()});
source.addEventListener("open",()=>{if(told)told.textContent="Following"});
source.addEventListener("error",()=>{if(told)told.textContent=source.readyState===2?"Not followed any more":"Connecting again"})}
wake();setInterval(ago,15000)})();`
