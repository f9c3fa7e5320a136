/* The words of `samed info`. See info.h. */
#include <stdio.h>
#include <string.h>

#include "jobs/info.h"

static double get_number(const io_json *root, const char *key)
{
    double number = 0;
    (void)io_json_get_number(root, key, &number);
    return number;
}

static const char *get_text(const io_json *root, const char *key)
{
    const char *text = io_json_get_text(root, key);
    return text ? text : "";
}

static void print_numbers(const io_json *root, const char *key, const char *separator)
{
    const io_json *array = io_json_get(root, key);

    for (size_t i = 0; array && i < io_json_size(array); i++) {
        double number = 0;
        (void)io_json_number(io_json_at(array, i), &number);
        printf("%s%.6g", i ? separator : "", number);
    }
}

static void print_nifti(const io_json *root)
{
    const io_json *suspicious = io_json_get(root, "suspicious");

    printf(": NIfTI-%.0f, ", get_number(root, "nifti_version"));
    print_numbers(root, "dims", " x ");
    printf(" %s, ", get_text(root, "datatype"));
    print_numbers(root, "spacing_mm", " x ");
    printf(" mm, %s, qform %.0f, sform %.0f", get_text(root, "orientation"), get_number(root, "qform_code"),
           get_number(root, "sform_code"));
    if (get_number(root, "slope") != 1 || get_number(root, "inter") != 0)
        printf(", scaled by %.9g plus %.9g", get_number(root, "slope"), get_number(root, "inter"));
    printf("\n");
    for (size_t i = 0; suspicious && i < io_json_size(suspicious); i++)
        printf("  suspicious: %s\n", io_json_text(io_json_at(suspicious, i)));
}

static void print_sam(const io_json *root)
{
    const char *published = io_json_get_text(root, "published_as");

    printf(": SAM %s, width %.0f, %.0f blocks, %.0f heads, window %.0f, trained at %.0f pixels, %.1f million parameters in %.0f tensors "
           "(%s)%s%s\n",
           get_text(root, "network"), get_number(root, "width"), get_number(root, "blocks"), get_number(root, "heads"),
           get_number(root, "window"), get_number(root, "native_image_size"), get_number(root, "parameters") / 1e6,
           get_number(root, "tensor_count"), get_text(root, "format"), published ? ", Meta's " : "", published ? published : "");
    printf("  SHA-256 %s\n", get_text(root, "sha256"));
}

static void print_adapter(const io_json *root)
{
    printf(": SAMed adapter, LoRA rank %.0f on %.0f blocks of width %.0f, %.0f classes with background, %.2f million parameters in %.0f "
           "tensors (%s)\n",
           get_number(root, "lora_rank"), get_number(root, "blocks"), get_number(root, "width"),
           get_number(root, "classes_with_background"), get_number(root, "parameters") / 1e6, get_number(root, "tensor_count"),
           get_text(root, "format"));
    printf("  SHA-256 %s\n", get_text(root, "sha256"));
}

static void print_tensors(const io_json *tensors)
{
    for (size_t i = 0; i < io_json_size(tensors); i++) {
        const io_json *tensor = io_json_at(tensors, i);
        printf("  %-60s %s\n", io_json_key(tensor), io_json_text(tensor));
    }
}

void job_info_print(const io_json *root)
{
    const char *kind = get_text(root, "kind");
    const char *refused = io_json_get_text(root, "refused");
    double low;

    printf("%s", get_text(root, "path"));
    if (!strcmp(kind, "nifti"))
        print_nifti(root);
    else if (!strcmp(kind, "sam"))
        print_sam(root);
    else if (!strcmp(kind, "adapter"))
        print_adapter(root);
    else
        printf(":\n");
    if (io_json_get(root, "tensors")) print_tensors(io_json_get(root, "tensors"));
    if (refused)
        printf("  REFUSED (%s): %s\n", refused, get_text(root, "text"));
    else if (io_json_get_number(root, "min", &low))
        printf("  checked: values from %.9g to %.9g, %.0f NaN, %.0f infinite\n", low, get_number(root, "max"), get_number(root, "nan"),
               get_number(root, "infinite"));
}
