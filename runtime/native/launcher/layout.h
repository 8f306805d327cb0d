/* What is where in the base, the memory file system that the launcher enters before it builds the job's root. */
#ifndef SDEE_LAUNCHER_LAYOUT_H
#define SDEE_LAUNCHER_LAYOUT_H

#define OLDROOT "/oldroot" /* the node's own root; /proc and /sys lead to those in it */
#define CLOSURE "/closure" /* the unpacked closure: also the new root's lowest layer */
#define NEWROOT "/newroot" /* the new root: a bind mount of CLOSURE, onto which all else is mounted */
#define UPPER "/upper"     /* overlays' upper and work directories */
#define LAZY "/lazy"       /* where the closure is mounted that is decoded as it is read, the layer below CLOSURE; LAZY_OVER: what is written over it */
#define LAZY_OVER "/lazy-over"
#define LAZY_TOLD "/lazy-told" /* what of it could not be read */
#define HIDDEN "/hidden"   /* whiteouts, a layer between the closure's and the node's */

#endif
