/* Batches of raw slices through a device that makes images and labels itself, so that copying goes on beside computing: up to MODEL_LANES
 * batches are under way, and come back in the order in which they were begun. */
#ifndef MODEL_FLOW_H
#define MODEL_FLOW_H

#include <stdbool.h>
#include <stddef.h>

#include "io/status.h"
#include "model/backend.h"
#include "model/device.h"
#include "model/sam.h"

typedef struct model_flow model_flow;

/* Does the device make images from raw slices? If not, the host does (pipeline/slices.h) and model_sam_segment takes them. */
bool model_flow_is_offered(const model_device *device);
/* Slices of every batch. */
int model_flow_batch(const model_device *device);
size_t model_voxel_bytes(model_voxel voxel);

/* label_bytes 1 or 2, of the labels that come back. All memory is taken here: for slices that fit into the room. The network must outlive
 * *out. */
io_status model_flow_create(model_device *device, model_sam *sam, int label_bytes, const model_slicing_room *room, model_flow **out);
void model_flow_free(model_flow **flow);

/* Bytes of device memory that it takes for passes of b slices: for plans before anything is there. */
size_t model_flow_estimate_bytes(const model_slicing_room *room, int label_bytes, int b);

/* The volume that the next batches come from; no batch may be under way. IO_ERR_MISMATCH: its slices are larger than the room. */
io_status model_flow_volume(model_flow *flow, const model_slicing *slicing);
/* Begins a batch: raw [model_flow_batch][rows][cols] of the slicing's voxels, from model_ops.host_create, which must stay until the batch
 * is finished. Slices that are not there are zeros. Returns before the work is done. */
io_status model_flow_begin(model_flow *flow, const void *raw);
int model_flow_under_way(const model_flow *flow);
/* Waits for the batch begun first. *labels [model_flow_batch][rows][cols] of label_bytes, borrowed until as many batches as there are lanes
 * were begun after it. */
io_status model_flow_finish(model_flow *flow, const void **labels);

#endif
