"""Style: how the page looks, light and dark, on wide and narrow screens."""

from __future__ import annotations

__all__ = ["CSS"]

# Red and blue are the maps' own. Everything else takes its colour from what it stands on.
CSS = """
.relprop-drop{display:flex;flex-direction:column;align-items:center;justify-content:center;gap:4px;min-height:96px;
 padding:12px;border:2px dashed #8888;border-radius:8px;text-align:center;cursor:pointer}
.relprop-drop:hover,.relprop-over{border-color:#b2182b}.relprop-drop small{overflow-wrap:anywhere}
.relprop-drop input{position:absolute;opacity:0;width:1px;height:1px}
.relprop-wrong{color:#c22}.dark .relprop-wrong{color:#f88}
.relprop-thumbnails{display:flex;flex-wrap:wrap;gap:8px;max-height:236px;overflow-y:auto;padding:3px}
.relprop-thumbnail{display:flex;flex-direction:column;align-items:center}
.relprop-thumbnail{width:84px;padding:4px;border:1px solid #8885;border-radius:6px;background:transparent;
 color:inherit;cursor:pointer;font-size:12px;overflow-wrap:anywhere}
.relprop-thumbnail img{display:block;width:74px;height:64px;object-fit:cover;border-radius:4px;margin:0 0 2px}
.relprop-thumbnail:hover{border-color:#b2182b}
.relprop-score{position:relative;display:flex;justify-content:space-between;gap:8px;width:100%;min-height:36px;
 padding:6px 10px;margin:3px 0;border:1px solid #8885;border-radius:6px;overflow:hidden;text-align:left;
 cursor:pointer;background:transparent;color:inherit}
.relprop-score i{position:absolute;inset:0 auto 0 0;background:#d9534f40;z-index:0}
.relprop-score span,.relprop-score b{position:relative}.relprop-score b{white-space:nowrap}
.relprop-score[aria-pressed=true]{outline:2px solid #b2182b;outline-offset:-1px}
:is(.relprop-drop:has(:focus-visible),.relprop-score:focus-visible,.relprop-thumbnail:focus-visible,
 .relprop-map [tabindex]:focus-visible){outline:3px solid #2e86de;outline-offset:2px}
.relprop-maps{display:flex;flex-wrap:wrap;gap:20px}.relprop-map{flex:1 1 240px;max-width:340px;min-width:0}
.relprop-maps>div{min-width:0;max-width:100%}
.relprop-map [data-places]{cursor:crosshair}
.relprop-mark{position:absolute;border:2px solid #fff;outline:2px solid #000;pointer-events:none}
.relprop-place{max-width:560px;border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
.relprop-place,.relprop-place :is(tr,td){border:0!important}
.relprop-place td{padding:2px 6px}.relprop-place td:nth-child(2){width:50%;min-width:120px}
.relprop-place td:last-child{text-align:right;white-space:nowrap}
.relprop-amount{display:block;position:relative;height:14px;background:linear-gradient(#8888,#8888) center/1px 100%
 no-repeat}
.relprop-amount i{position:absolute;top:1px;bottom:1px;background:#b2182b}
.relprop-amount .against{background:#2166ac}
.dark .relprop-amount i{background:#e0524f}.dark .relprop-amount .against{background:#4f9be0}
.relprop-warning{color:#fff;background:#a11;padding:10px 12px;border-radius:6px;overflow-wrap:anywhere}
.relprop-said{margin-top:14px}.relprop-said p{margin:6px 0}
.relprop-work{min-height:44px;align-items:center}.relprop-work button{visibility:hidden}
.relprop-work:has(progress) button{visibility:visible}
.relprop-busy{display:flex;flex-wrap:wrap;gap:4px 10px;align-items:center}
.relprop-busy progress{flex:0 0 160px;height:12px;accent-color:#b2182b}
@media (max-width:640px){ /* the line stands below what was clicked: there it would not be seen */
 .relprop-work:has(progress),.relprop-work:has(.relprop-warning){
  position:fixed;inset:auto 0 0 0;z-index:50;padding:8px 16px;
  background:var(--body-background-fill,#fff);border-top:1px solid #8885}}
.relprop-download{display:inline-block;padding:8px 0;margin-right:16px;text-decoration:underline}
@media (max-width:520px){.tab-container button{padding:0 6px!important;font-size:14px!important}}
"""
